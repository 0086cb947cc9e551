"""A change that is not meant to change the arithmetic reproduces the recorded losses of every method bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakemedia.core import plugin
from fakemedia.methods.method import GradientMethod
from tests.golden.losses import FIXED

RECORDED = json.loads(Path(__file__).with_name("losses.json").read_text())
TOLERANCE = 1e-3
"""Relative, where the recorded bits are of another release of torch or another kind of processor."""


def joins(name: str) -> bool:
    """Say whether the method begins every stage anew, with the images of all tasks."""
    return plugin.constant("methods", name.split()[0], "SCOPE", "stage") == "seen"


@pytest.fixture(scope="module")
def found() -> dict:
    """Return the losses of today's code: in a process of its own, since the kernels are chosen when torch is loaded."""
    done = subprocess.run([sys.executable, "-m", "tests.golden.losses"], cwd=Path(__file__).parents[2],
                          env={**os.environ, **FIXED}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_method_is_recorded(found: dict) -> None:
    stepping = {name for name in plugin.names("methods")
                if isinstance(plugin.create("methods", name, {}, 0), GradientMethod)}
    assert {name.split()[0] for name in RECORDED["losses"]} == stepping
    assert found["losses"].keys() == RECORDED["losses"].keys()


@pytest.mark.parametrize("name", RECORDED["losses"])
def test_losses_are_those_recorded(found: dict, name: str) -> None:
    same_bits = all(found[key] == RECORDED[key] for key in ("torch", "machine"))
    losses, recorded = found["losses"][name], RECORDED["losses"][name]
    assert len(recorded) == 20
    assert losses == (recorded if same_bits else pytest.approx(recorded, rel=TOLERANCE))


@pytest.mark.parametrize("name", [name for name in RECORDED["losses"] if not joins(name)])
def test_the_first_stage_is_fine_tuning_bit_for_bit(found: dict, name: str) -> None:
    assert found["losses"][name][:10] == found["losses"]["finetune"][:10]
