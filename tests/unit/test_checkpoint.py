"""Checkpoints are whole or not there."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core.errors import UserError
from fakemedia.networks import checkpoint as checkpoints
from fakemedia.networks.checkpoint import Checkpoint, is_made_by, load, make_checkpoint, recover, save

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(producer="stage", version=1, inputs={"parent": "p"})


@pytest.fixture
def checkpoint() -> Checkpoint:
    weights = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}
    return make_checkpoint(weights, {}, {"fingerprint": "f", "parent_weights_sha256": "p", "stage": {"tasks": ("x",)}})


def test_round_trip(tmp_path, checkpoint):
    save(checkpoint, tmp_path / "deep" / "01_x", RECIPE)
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
        save(checkpoint, tmp_path / name, RECIPE)
    for file in ("weights.safetensors", "method.safetensors", "checkpoint.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_tensors_have_one_order_whatever_the_reader_gives(tmp_path, monkeypatch):
    tensors = {name: torch.zeros(1) for name in ("c", "a", "d", "b")}
    made = make_checkpoint(tensors, tensors, {"fingerprint": "f"})
    save(made, tmp_path / "x", RECIPE)
    read = checkpoints.load_tensors
    for order in (1, -1):
        monkeypatch.setattr(checkpoints, "load_tensors", lambda data, order=order: dict([*read(data).items()][::order]))
        found = load(tmp_path / "x")
        assert [*found.weights] == [*found.method_state] == [*made.weights] == [*made.method_state] == list("abcd")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
@pytest.mark.parametrize("file", ["weights.safetensors", "method.safetensors", "checkpoint.json"])
def test_damage_is_told_by_the_name_of_the_file(tmp_path, checkpoint, file, damage):
    save(checkpoint, tmp_path / "x", RECIPE)
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
    save(checkpoint, tmp_path / "x", RECIPE)
    other = make_checkpoint({"a": torch.ones(2)}, {}, {"fingerprint": "g"})

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write", full)
    with pytest.raises(UserError, match="No space left"):
        save(other, tmp_path / "x", RECIPE)
    monkeypatch.undo()
    assert load(tmp_path / "x").meta["fingerprint"] == "f"
    save(other, tmp_path / "x", RECIPE)
    assert load(tmp_path / "x").meta["fingerprint"] == "g"
    assert os.listdir(tmp_path) == ["x"]


def other_checkpoint() -> Checkpoint:
    return make_checkpoint({"a": torch.ones(2)}, {}, {"fingerprint": "g"})


@pytest.mark.parametrize("failing", [{1}, {2}, {2, 3}])
def test_a_rename_that_fails_leaves_a_whole_checkpoint(tmp_path, checkpoint, monkeypatch, failing):
    """The first sets the older one aside, the second puts the new one there, the third takes the first one back."""
    folder = tmp_path / "x"
    save(checkpoint, folder, RECIPE)
    real, calls = os.replace, []

    def replace(one, two):
        calls.append(1)
        if len(calls) in failing:
            raise OSError(5, "Input/output error")
        real(one, two)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(UserError, match="Input/output error"):
            save(other_checkpoint(), folder, RECIPE)
    assert load(folder).meta["fingerprint"] == "f"
    save(other_checkpoint(), folder, RECIPE)
    assert load(folder).meta["fingerprint"] == "g"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(("killed_before", "found"), [(1, "f"), (2, "f"), (3, "g")])
def test_a_kill_in_a_replacement_leaves_a_whole_checkpoint(tmp_path, checkpoint, killed_before, found):
    """A process is killed before the first rename, between the two, or before the older one is deleted."""
    folder = tmp_path / "x"
    save(checkpoint, folder, RECIPE)
    program = (
        "import os, shutil, sys; from pathlib import Path\n"
        "from fakemedia.networks import checkpoint as c\n"
        "from tests.unit.test_checkpoint import RECIPE, other_checkpoint\n"
        f"real, calls, killed = os.replace, [], {killed_before}\n"
        "def step(do, *given, **other):\n"
        "    calls.append(1)\n"
        "    os._exit(9) if len(calls) == killed else do(*given, **other)\n"
        "os.replace = lambda *given: step(real, *given)\n"
        "c.shutil.rmtree = lambda *given, real=shutil.rmtree, **other: step(real, *given, **other)\n"
        f"c.save(other_checkpoint(), Path({str(folder)!r}), RECIPE)\n")
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 9
    assert load(folder).meta["fingerprint"] == found
    recover(folder)
    assert load(folder).meta["fingerprint"] == found
    assert is_made_by(folder, RECIPE)
    save(other_checkpoint(), folder, RECIPE)
    assert os.listdir(tmp_path) == ["x"]


def test_whether_it_was_made_by_a_recipe(tmp_path, checkpoint):
    folder = tmp_path / "x"
    assert not is_made_by(folder, RECIPE)
    save(checkpoint, folder, RECIPE)
    assert is_made_by(folder, RECIPE)
    assert not is_made_by(folder, replace(RECIPE, version=2))
    assert not is_made_by(folder, replace(RECIPE, inputs={"parent": "q"}))
    (folder / "weights.safetensors").unlink()
    assert not is_made_by(folder, RECIPE)


def test_its_content_is_that_of_weights_and_method(checkpoint):
    again = make_checkpoint(checkpoint.weights, {}, {"fingerprint": "other"})
    assert again.content == checkpoint.content
    assert make_checkpoint(checkpoint.weights, {"s": torch.ones(1)}, {"fingerprint": "f"}).content != again.content


def test_meta_is_plain_json(checkpoint):
    assert checkpoint.meta["stage"] == {"tasks": ["x"]}
    assert json.loads(json.dumps(checkpoint.meta)) == checkpoint.meta


def test_a_checkpoint_of_an_earlier_version_is_refused_by_that_name(tmp_path) -> None:
    (tmp_path / "checkpoint.json").write_text('{"fingerprint": "f", "weights_sha256": "w", "strategy_sha256": "s"}')
    with pytest.raises(UserError, match="earlier version"):
        checkpoints.read_meta(tmp_path)
