"""Checkpoints are whole or not there."""

import json
import os

import pytest
import torch

from fakemedia.core.errors import UserError
from fakemedia.networks import checkpoint as checkpoints
from fakemedia.networks.checkpoint import Checkpoint, is_valid, load, make_checkpoint, save


@pytest.fixture
def checkpoint() -> Checkpoint:
    weights = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}
    return make_checkpoint(weights, {}, {"fingerprint": "f", "parent_weights_sha256": "p", "stage": {"tasks": ("x",)}})


def test_round_trip(tmp_path, checkpoint):
    save(checkpoint, tmp_path / "deep" / "01_x")
    found = load(tmp_path / "deep" / "01_x")
    assert found.meta == checkpoint.meta
    assert found.method_state == {}
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in checkpoint.weights.items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["01_x"]


def test_tensors_are_copied_and_may_share_memory():
    shared = torch.zeros(4)
    made = make_checkpoint({"a": shared, "b": shared}, {"c": shared[:2]}, {"fingerprint": "f"})
    shared.fill_(1.0)
    assert made.weights["a"].sum() == 0


def test_equal_tensors_give_equal_bytes(tmp_path, checkpoint):
    for name in ("one", "two"):
        save(checkpoint, tmp_path / name)
    for file in ("weights.safetensors", "method.safetensors", "checkpoint.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "remove"])
@pytest.mark.parametrize("file", ["weights.safetensors", "method.safetensors", "checkpoint.json"])
def test_damage_is_told_by_the_name_of_the_file(tmp_path, checkpoint, file, damage):
    save(checkpoint, tmp_path / "x")
    path = tmp_path / "x" / file
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=file):
        load(tmp_path / "x")


def test_meta_of_another_kind_is_refused(tmp_path):
    (tmp_path / "checkpoint.json").write_text("[]")
    with pytest.raises(UserError, match=r"checkpoint\.json"):
        checkpoints.read_meta(tmp_path)


def test_failing_while_replacing_keeps_the_old_one(tmp_path, checkpoint, monkeypatch):
    save(checkpoint, tmp_path / "x")
    other = make_checkpoint({"a": torch.ones(2)}, {}, {"fingerprint": "g"})

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write", full)
    with pytest.raises(UserError, match="No space left"):
        save(other, tmp_path / "x")
    monkeypatch.undo()
    assert load(tmp_path / "x").meta["fingerprint"] == "f"
    save(other, tmp_path / "x")
    assert load(tmp_path / "x").meta["fingerprint"] == "g"
    assert os.listdir(tmp_path) == ["x"]


def test_validity(tmp_path, checkpoint):
    folder = tmp_path / "x"
    assert not is_valid(folder, "f", "p")
    save(checkpoint, folder)
    assert is_valid(folder, "f", "p")
    assert not is_valid(folder, "g", "p")
    assert not is_valid(folder, "f", "q")
    assert not is_valid(folder, "f")
    (folder / "weights.safetensors").unlink()
    assert not is_valid(folder, "f", "p")


def test_meta_is_plain_json(checkpoint):
    assert checkpoint.meta["stage"] == {"tasks": ["x"]}
    assert json.loads(json.dumps(checkpoint.meta)) == checkpoint.meta


def test_a_checkpoint_of_an_earlier_version_is_refused_by_that_name(tmp_path) -> None:
    (tmp_path / "checkpoint.json").write_text('{"fingerprint": "f", "weights_sha256": "w", "strategy_sha256": "s"}')
    with pytest.raises(UserError, match="earlier version"):
        checkpoints.read_meta(tmp_path)
