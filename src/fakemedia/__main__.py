"""`python -m fakemedia`: runs the packaged project, and its other commands anywhere."""

import sys
from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    """Run the command named first on the command line (`score`, ...), or else `run`."""
    package = Path(__file__).parent.name
    configure_project(package)
    from fakemedia.cli import cli

    command = cli if sys.argv[1:2] and sys.argv[1] in cli.commands else find_run_command(package)
    command(sys.argv[1:], standalone_mode=True)


if __name__ == "__main__":
    main()
