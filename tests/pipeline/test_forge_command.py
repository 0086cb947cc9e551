"""`kedro forge`: a task from the photographs of a collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.pipeline.conftest import bootstrap


def test_a_task_as_the_collection_would_make_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    bootstrap()
    from fakemedia.cli import cli

    def call(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["forge", *arguments]).output

    told = call("inbox/fresh", "--family", "upsampling", "--params", "kernel=5,spread=0.04")
    folder = project / "inbox/fresh"
    assert told.startswith(f"{folder}: 2 x ")
    record = json.loads((folder / "forge.json").read_text())
    assert (record["task"], record["family"], record["settings"]["kernel"]) == ("fresh", "upsampling", 5)
    assert {path.name for path in folder.iterdir()} == {"train", "val", "test", "sources.csv", "forge.json"}
    assert "did you mean 'blending'" in call("inbox/other", "--family", "blendin")
    assert "collections.nothing.source" in call("inbox/other", "--family", "blending", "--collection", "nothing")
    assert "are not forged" in call("inbox/other", "--family", "blending", "--collection", "cddb")
    assert not (project / "inbox/other").exists()
