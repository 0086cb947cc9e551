"""The one exception whose message is written for the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, reported in one message: what was wrong, where, what was expected, what to do.

    The command line prints only the message and exits with a non-zero status; any other exception is a defect of
    the program and keeps its traceback.
    """

    def __init__(self, what: str, *, where: object = None, expected: object = None, do: str | None = None) -> None:
        parts = [what.rstrip(".") + "."]
        if where is not None:
            parts.append(f"Where: {where}.")
        if expected is not None:
            parts.append(f"Expected: {expected}.")
        if do is not None:
            parts.append(f"What to do: {do if do.endswith('?') else do.rstrip('.') + '.'}")
        super().__init__("\n  ".join(parts))


class MachineError(UserError):
    """The machine is at fault, not the input: a full disk, a locked database. A later attempt may succeed."""


def unknown_name(kind: str, name: object, names: Iterable[object], *, where: object = None) -> UserError:
    """Return the error for a `name` that is none of `names`, with the closest match as the advice."""
    choices = sorted(map(str, names))
    close = difflib.get_close_matches(str(name), choices, n=1)
    return UserError(
        f"Unknown {kind} {str(name)!r}",
        where=where,
        expected=f"one of {', '.join(choices)}" if choices else f"no {kind} is defined",
        do=f"did you mean {close[0]!r}?" if close else None,
    )
