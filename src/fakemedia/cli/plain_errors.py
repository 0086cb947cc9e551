"""How a command ends: bad input and interruption give one message without a traceback."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from fakemedia.cli.typed import as_typed
from fakemedia.core.errors import UserError
from fakemedia.runtime import launch, signals


def plain_errors(command: Callable) -> Callable:
    """Return `command`, which then ends with one message for bad input, Ctrl-C and SIGTERM."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            with signals.watched():
                return command(*args, **kwargs)
        except KeyboardInterrupt:
            if signals.reports():
                click.echo(f"\n{signals.message()}", err=True)
            raise click.exceptions.Exit(signals.STATUS) from None
        except Exception as error:
            if launch.lost_peer(error):
                if signals.reports():
                    click.echo(f"\nAnother process of this run ended. {signals.message(stopped=False)}", err=True)
                raise click.exceptions.Exit(1) from None
            input_error = user_error(error)
            if input_error is None:
                raise
            launch.wait_for_first_report()
            raise click.ClickException(as_typed(str(input_error))) from error

    return wrapped


def user_error(error: BaseException | None) -> UserError | None:
    """Return the error of the user's input that led to `error`; None if there is none."""
    while error is not None:
        if isinstance(error, UserError):
            return error
        if isinstance(error, PermissionError):
            return UserError("A file or folder may not be read or written (Permission denied)", where=error.filename,
                             expected="the right to use it", do="give yourself the right to read and write there")
        error = error.__cause__ or error.__context__
    return None
