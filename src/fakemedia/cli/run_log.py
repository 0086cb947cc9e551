"""The log file of runs: Kedro's messages about every node, beside the lines on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from fakemedia.artefacts.files import writing

FILE = "logs/run.log"
MAX_BYTES = 5 * 2**20
"""Bytes of the file at most; the two before it are kept."""
LOGGERS = ("kedro", "fakemedia")


@contextmanager
def logging_to_file(project: Path) -> Iterator[Path]:
    """Append what is logged to the log file of `project`, whose path is yielded; UserError if it cannot be written."""
    path = project / FILE
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield path
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
