"""Helpers for building nodes."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


def bound(function: Callable, **settings: Any) -> Callable:
    """Return `function` with the keywords `settings` bound; the viewer shows the code of `function` itself."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **settings, **kwargs)

    signature = inspect.signature(function)
    remaining = [parameter for name, parameter in signature.parameters.items() if name not in settings]
    call.__signature__ = signature.replace(parameters=remaining)  # type: ignore[attr-defined]
    return call
