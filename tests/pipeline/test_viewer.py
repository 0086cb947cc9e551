"""What kedro-viz makes of the project: graphs that it draws, names that can be read, and previews."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.conftest import change

LIMIT = 1000
"""Nodes and one and a half times the edges, beyond which the viewer asks before it draws."""


def build(project: Path) -> Path:
    """Build the static viewer of `project` and return the folder with what it shows."""
    subprocess.run([sys.executable, "-m", "kedro", "viz", "build", "--include-previews"], cwd=project, check=True,
                   capture_output=True, text=True, env={**os.environ, "DO_NOT_TRACK": "1"})
    return project / "build" / "api"


def size(graph: dict, opened: str | None = None) -> float:
    """Return the size of the graph with all boxes closed but `opened`."""
    boxes = graph["modular_pipelines"]
    shown = {child["id"] for child in boxes["__root__"]["children"]}
    if opened is not None:
        shown = shown - {opened} | {child["id"] for child in boxes[opened]["children"]}
    edges = [edge for edge in graph["edges"] if {edge["source"], edge["target"]} <= shown]
    return len(shown) + 1.5 * len(edges)


@pytest.fixture
def shown(full_project: Path) -> Path:
    change(full_project, {"n_seeds": 3})
    return build(full_project)


def test_every_sequence_with_three_seeds_can_be_drawn(full_project: Path, shown: Path) -> None:
    sequences = yaml.safe_load((full_project / "conf/base/parameters_sequences.yml").read_text())["sequences"]
    for name in sequences:
        graph = json.loads((shown / "pipelines" / name).read_text())
        assert size(graph) < LIMIT, name
    for name in ("demo", "cddb_short"):
        graph = json.loads((shown / "pipelines" / name).read_text())
        boxes = set(graph["modular_pipelines"]) - {"__root__"}
        assert {f"{name}-kd", f"{name}-report", f"{name}-similarity"} < boxes
        assert all(size(graph, opened=box) < LIMIT for box in boxes), name
        loose = [node["name"] for node in graph["nodes"] if node["type"] == "task" and not node["modular_pipelines"]]
        assert not loose, "nodes outside the boxes"
