"""`fakemedia` and `python -m fakemedia`: the project's commands."""

import sys
from collections.abc import Sequence

from fakemedia.context.kedro_logging import import_kedro

ON_THEIR_OWN = ("--help", "--version")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` (default: the command line) name; options alone are those of `run`."""
    import_kedro()
    from kedro.framework.project import configure_project

    configure_project("fakemedia")
    from fakemedia.cli.program import program

    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0].startswith("-") and given[0] not in ON_THEIR_OWN:
        given.insert(0, "run")
    program(given, prog_name="fakemedia")


if __name__ == "__main__":
    main(sys.argv[1:] or ["run"])
