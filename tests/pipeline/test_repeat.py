"""What is made once more from nothing, in another folder, is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.conftest import change, make_project, run
from tests.pipeline.test_run import checkpoints, scores

TASKS = {"gan": {"family": "upsampling", "kernel": 3}, "latent": {"family": "latent", "factor": 4},
         "double": {"family": "upsampling", "kernel": 5}}


@pytest.mark.slow
def test_methods_with_a_memory_give_the_same_in_two_fresh_projects(tmp_path: Path, undrawn: None) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        project = make_project(tmp_path / name)
        change(project, {"sequences": {"tiny": {"tasks": list(TASKS), "methods": {"replay": {"pictures": 18}}}},
                         "collections": {"tiny": {"forge": {"tasks": TASKS}}}})
        run(project)
        found.append((checkpoints(project), scores(project)))
    assert any(name.endswith(".memory.parquet") for name in found[0][0])
    assert found[0] == found[1]
