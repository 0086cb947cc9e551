"""Runs whose results are at an address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.failure.test_faults import made
from tests.pipeline.conftest import change, run

ADDRESS = "memory://runs/mine"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """Empty what is behind memory://."""
    store = fsspec.filesystem("memory").store
    store.clear()
    yield
    store.clear()


@pytest.fixture
def stored(ingested: Path, blank: None) -> Path:
    """Return an ingested project of one label whose results are at an address."""
    change(ingested, {"storage": {"address": ADDRESS}, "sequences": {"tiny": {"labels": ["kd"]}}})
    return ingested


def test_another_machine_goes_on_where_one_ended(stored: Path, tmp_path_factory: pytest.TempPathFactory,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    run(stored, tags=["kd"])
    there = shutil.copytree(stored, tmp_path_factory.mktemp("there"), dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("0[23456789]_*"))
    assert not list(there.glob("data/0[23]*"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("fakemedia.learning.training_loop.TrainingLoop.run", None)
        run(there, only_missing_outputs=True)
    assert made(there) == made(stored)
    run(stored, only_missing_outputs=True)
    tables = "data/08_reporting/tiny/metrics.csv"
    assert (there / tables).read_bytes() == (stored / tables).read_bytes()
