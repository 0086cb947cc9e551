"""Notebooks are committed without outputs, and run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import fakemedia as fm
from tests.pipeline.conftest import make_project

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
EXPLORE = "explore_results"
"""The notebook that needs a finished run."""
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"train_local", "test_local", "new_method", EXPLORE}


@each
def test_committed_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), cell.source
        assert cell.get("execution_count") is None, cell.source


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem != EXPLORE], ids=lambda path: path.stem)
def test_runs_and_every_figure_is_shown(path: Path, tmp_path: Path) -> None:
    execute(path, tmp_path)
    assert not list(tmp_path.iterdir()), "a notebook writes to its temporary folder alone"


@pytest.mark.slow
def test_a_finished_run_is_explored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path)
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project)
    for tag in ("ingestion", "finetune", "joint"):
        fm.run(tags=[tag])
    execute(next(path for path in NOTEBOOKS if path.stem == EXPLORE), project / "notebooks")


def execute(path: Path, folder: Path) -> None:
    """Run the notebook `path` in `folder`; every figure must be shown."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        last = cell.source.rstrip().splitlines()[-1]
        if "_figure(" in last:
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source
