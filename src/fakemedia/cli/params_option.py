"""The option `--params` of commands that run no pipeline."""

from __future__ import annotations

from typing import Any

import click


def parsed(*args: Any) -> dict[str, Any]:
    """Return the value of an option such as `a.b=1,c=x` as `kedro run` reads it; a callback of click."""
    from kedro.framework.cli.utils import _split_params

    return _split_params(*args) or {}


params_option = click.option("--params", default="", callback=parsed, help="Parameters to change, as for kedro run.")
