"""Commands in messages, as the user types them."""

from __future__ import annotations

import re

from fakemedia.core.invocation import KEDRO, program


def as_typed(text: str) -> str:
    """Return `text` with the project's commands under the program that the user started; Kedro's own stay `kedro ...`.

    `kedro run` becomes `fakemedia run` for users of the program `fakemedia`.
    """
    if program() == KEDRO:
        return text
    from fakemedia.cli import cli

    return re.sub(rf"\b{KEDRO} (?=(?:{'|'.join(cli.commands)})\b)", f"{program()} ", text)
