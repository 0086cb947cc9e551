"""Which logging configuration Kedro reads."""

import os
from pathlib import Path

from kedro.utils import find_kedro_project

from fakemedia.core.plugin import PACKAGE_ROOT

VARIABLE, FILE = "KEDRO_LOGGING_CONFIG", "conf/logging.yml"


def choose_logging() -> None:
    """Let Kedro read the project's logging configuration, or the packaged one; to be called before it is imported.

    Kedro itself looks in the working directory alone, and else prints which file it uses.
    """
    project = find_kedro_project(Path.cwd())
    own = None if project is None else project / FILE
    os.environ.setdefault(VARIABLE, str(own if own is not None and own.is_file() else PACKAGE_ROOT / "template" / FILE))
