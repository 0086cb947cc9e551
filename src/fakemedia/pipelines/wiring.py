"""What the pipelines share in building their nodes."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any


def bound(function: Callable, **settings: Any) -> Callable:
    """Return `function` with `settings` filled in, under its own name and docstring."""
    return update_wrapper(partial(function, **settings), function)
