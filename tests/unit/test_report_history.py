"""Histories and checkpoints as the report reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan, make_plan
from fakemedia.reporting.history import checkpoint_notices, last_weights, read_history, stage_history

from ..scores import make_histories

PLAN: Plan = make_plan({
    "collections": {"c": {}}, "n_seeds": 2,
    "sequences": {"s": {"collection": "c", "tasks": ["a", "b"], "network": {"name": "convnet"},
                        "methods": {"kd": {}, "joint": {}}}}}, "s")
HISTORIES = make_histories(PLAN.stages, ("kd", "joint"), seeds=(0, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkpoint folder with its history beside it."""
    made = tmp_path / "01_a"
    made.mkdir()
    (made / "weights.safetensors").write_bytes(b"12345")
    (made / "method.safetensors").write_bytes(b"12")
    (made / "checkpoint.json").write_text(json.dumps({
        "weights_sha256": "ab", "parent_weights_sha256": None, "network": {"name": "convnet"},
        "stage": {"tasks": ["a"]}}))
    records = [{"epoch": epoch, "lr": 0.1, "loss": {"total": 1.0, "penalty": 0.5}, "seconds": 1.0,
                "images_per_second": 10.0, "memory_mib": 1.0} for epoch in (1, 2)]
    records[1] |= {"accuracy": 75.0, "validation": {"a": 75.0}}
    (tmp_path / "01_a.history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return made


def test_a_stage_is_read_with_its_losses_and_sizes(folder: Path) -> None:
    table = stage_history(folder, folder.with_name("01_a.history.jsonl"))
    assert table["epoch"].tolist() == [1, 2]
    assert table["loss.penalty"].tolist() == [0.5, 0.5]
    assert table["validation.a"].tolist()[1] == 75
    assert table[["weights_bytes", "state_bytes"]].to_numpy().tolist() == [[5, 2]] * 2
    assert table["tasks"].tolist() == [("a",)] * 2


def test_without_history_or_checkpoint_the_rest_is_there(folder: Path) -> None:
    alone = stage_history(folder, folder.with_name("none.jsonl"))
    assert alone["epoch"].isna().tolist() == [True]
    assert alone["weights_sha256"].tolist() == ["ab"]
    lost = stage_history(folder.with_name("none"), folder.with_name("01_a.history.jsonl"))
    assert lost["epoch"].tolist() == [1, 2]
    assert np.isnan(lost["weights_bytes"]).all()


@pytest.mark.parametrize("text", ["{", '{"lr": 1}\n', "[1]\n"])
def test_a_damaged_history_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "01_a.history.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=r"damaged(.|\n)*01_a\.history\.jsonl"):
        read_history(path)


def test_a_damaged_checkpoint_is_named(folder: Path) -> None:
    (folder / "method.safetensors").unlink()
    with pytest.raises(UserError, match=r"missing, incomplete(.|\n)*checkpoint\.json"):
        stage_history(folder, folder.with_name("01_a.history.jsonl"))


def changed(column: str, value: object, stage: int = 2) -> pd.DataFrame:
    table = HISTORIES.copy()
    rows = (table["method"] == "kd") & (table["seed"] == 1) & (table["stage"] == stage)
    table[column] = pd.Series([value if row else old for row, old in zip(rows, table[column], strict=True)],
                              dtype=object)
    return table


@pytest.mark.parametrize(("histories", "notices"), [
    (HISTORIES, ()),
    (changed("network", "vit"), ("kd, seed 1, stage 02_b: the checkpoint is of the network vit, not convnet",)),
    (changed("tasks", ("c", "d")), ("kd, seed 1, stage 02_b: the checkpoint learned c + d, so it is of another "
                                    "sequence",)),
    (changed("parent_sha256", "other"), ("kd, seed 1, stage 02_b: the checkpoint does not start from that of 01_a, so "
                                         "it is of another run",)),
    (changed("weights_sha256", None), ("kd, seed 1, stage 02_b: there are scores, but no checkpoint",)),
])
def test_checkpoints_of_mixed_sequences_are_told(histories: pd.DataFrame, notices: tuple[str, ...]) -> None:
    assert checkpoint_notices(histories, PLAN) == notices


def test_the_last_weights_are_those_of_the_last_stage() -> None:
    assert last_weights(HISTORIES) == {("kd", 0): "kd02", ("kd", 1): "kd12", ("joint", 0): "joint02",
                                       ("joint", 1): "joint12"}
