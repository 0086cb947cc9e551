"""Which logging configuration Kedro reads."""

import os
from pathlib import Path

from kedro.utils import find_kedro_project

from fakemedia.core.plugin import PACKAGE_ROOT

VARIABLE, FILE = "KEDRO_LOGGING_CONFIG", "conf/logging.yml"


def import_kedro() -> None:
    """Import Kedro with the project's logging configuration or, outside a project, the packaged one.

    Kedro reads it while it is imported. It looks only in the working directory, and otherwise prints the file it uses.
    """
    if VARIABLE in os.environ:
        return
    project = find_kedro_project(Path.cwd())
    config_file = (project or PACKAGE_ROOT) / FILE
    os.environ[VARIABLE] = str(config_file if config_file.is_file() else PACKAGE_ROOT / "template" / FILE)
    try:
        import kedro.framework.project  # noqa: F401
    finally:
        del os.environ[VARIABLE]
