"""Data that the audit refuses: the audit is written first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from fakemedia.core.errors import UserError
from fakemedia.ingest.index import index_parts
from fakemedia.store import decode
from tests.pipeline.conftest import bootstrap, change, run
from tests.trees import write_tree


@pytest.fixture
def own_data(project: Path) -> Path:
    """Return a project whose sequence has two tasks of image folders."""
    for task in ("a", "b"):
        write_tree(project / "data/01_raw/own", task)
    change(project, {"collections": {"own": {"source": {"name": "folder", "root": "data/01_raw/own"}}},
                     "sequences": {"tiny": {"collection": "own", "tasks": ["a", "b"]}}})
    return project


def test_the_audit_is_written_before_the_run_fails(own_data: Path, undrawn: None) -> None:
    for name in ("000.png", "001.png"):
        (own_data / "data/01_raw/own/b/train/0_real" / name).write_bytes(b"broken")
    with pytest.raises(UserError, match=r"(?s)cannot be read.*unreadable: 2.*audit/audit\.html"):
        run(own_data, tags=["ingestion"])
    page = own_data / "data/08_reporting/tiny/audit/audit.html"
    assert "b/train/0_real/001.png" in page.read_text()
    assert (page.parent / "findings.csv").read_text().count("unreadable") == 2


def test_another_version_of_decoding_reads_again(own_data: Path, undrawn: None,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[bool] = []
    real = index_parts

    def noting(*args: object, previous: object = None, **kwargs: object):
        known.append(previous is not None)
        return real(*args, previous=previous, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("fakemedia.ingest.index.index_parts", noting)
    for version in (1, 1, 2):
        monkeypatch.setattr(decode, "VERSION", version)
        run(own_data, tags=["ingestion"])
    assert known == [False, False, True, True, False, False]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_folder_that_may_not_be_read_is_named(own_data: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """It ended in a traceback of a hundred lines."""
    real = os.stat

    def stat(path, **options):
        if "03_primary" in str(path) or "06_models" in str(path):  # An administrator may read everything.
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.chdir(own_data)
    bootstrap()
    monkeypatch.setattr(os, "stat", stat)
    from fakemedia.cli import cli

    result = CliRunner().invoke(cli, [command])
    assert result.exit_code == 1
    assert "may not be read or written (Permission denied)" in result.output
