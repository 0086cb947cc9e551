"""Plugins are found by their file names, and their settings are checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakemedia import methods
from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name

PRESETS = {"paper": {"rate": 0.5, "steps": 7}}


@dataclass(frozen=True, kw_only=True)
class Config:
    rate: float = 0.1
    steps: int = 1
    kind: Literal["flat", "round"] = "flat"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps of at least 1")


def configure(**settings) -> Config:
    return plugin.configure(Config, settings, where="here", presets=PRESETS)


def test_names_are_those_of_files_with_config_and_build() -> None:
    assert set(plugin.names("methods")) >= {"ewc", "finetune", "joint", "kd"}
    assert set(plugin.names("networks")) >= {"convnet", "mobilenetv2", "resnet18", "resnet50", "vit", "xception"}
    assert "base" not in plugin.names("networks")
    assert "folder" in plugin.names("sources")


def test_a_constant_is_read_without_importing_the_file() -> None:
    assert plugin.constant("methods", "joint", "SCOPE", "stage") == "seen"
    assert plugin.constant("methods", "kd", "SCOPE", "stage") == "stage"


def test_a_short_name_stands_for_a_plugin_with_settings() -> None:
    assert plugin.alias("networks", "vit") == ("timm", {"architecture": "vit_small_patch16_224.augreg_in21k_ft_in1k"})
    assert plugin.alias("networks", "timm") is None
    assert plugin.constant("networks", "vit", "SALIENCY", "grad_cam") == "input_gradient"
    assert plugin.constant("networks", "resnet18", "SALIENCY", "grad_cam") == "grad_cam"
    assert plugin.load("networks", "vit") is plugin.load("networks", "timm")


def test_presets_and_what_overrides_them() -> None:
    assert configure() == Config()
    assert configure(preset="paper", steps=3) == Config(rate=0.5, steps=3)
    assert configure(rate=1) == Config(rate=1.0)


@pytest.mark.parametrize(("settings", "message"), [
    ({"rat": 1}, "Unknown key 'rat'(?s:.*)Where: here(?s:.*)did you mean 'rate'"),
    ({"preset": "papre"}, "Unknown preset 'papre'(?s:.*)did you mean 'paper'"),
    ({"rate": "fast"}, "'fast' does not fit the key 'rate'"),
    ({"steps": 1.5}, "1.5 does not fit the key 'steps'"),
    ({"steps": 0}, "steps of at least 1"),
    ({"kind": "square"}, "'square' does not fit the key 'kind'(?s:.*)'flat' or 'round'"),
    ({"rate": None}, "None does not fit the key 'rate'"),
])
def test_settings_that_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure(**settings)


@given(st.floats(-1e9, 1e9), st.integers(1, 10**9), st.sampled_from(["flat", "round"]))
def test_settings_that_fit_are_kept(rate: float, steps: int, kind: str) -> None:
    found = configure(rate=rate, steps=steps, kind=kind)
    assert [getattr(found, field.name) for field in fields(found)] == [rate, steps, kind]


def test_unknown_plugins() -> None:
    with pytest.raises(UserError, match=r"Unknown network 'resnet19'(?s:.*)one of(?s:.*)did you mean 'resnet18'"):
        plugin.load("networks", "resnet19")
    with pytest.raises(UserError, match="Unknown source 'foldr'"):
        plugin.create("sources", "foldr", {})


def test_a_message_has_four_parts() -> None:
    error = UserError("It is wrong.", where="there", expected="right", do="mend it.")
    assert str(error).split("\n  ") == ["It is wrong.", "Where: there.", "Expected: right.", "What to do: mend it."]
    assert str(unknown_name("word", "bee", ["be"])).endswith("What to do: did you mean 'be'?")
    assert "no word is defined" in str(unknown_name("word", "bee", []))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for plugins outside the package; afterwards it is forgotten."""
    monkeypatch.setattr(plugin, "_roots", list(plugin._roots))
    monkeypatch.setattr(methods, "__path__", list(methods.__path__))
    (tmp_path / "methods").mkdir()
    yield tmp_path
    sys.modules.pop("fakemedia.methods.mine", None)
    plugin.names.cache_clear()


def write(folder: Path, rate: float) -> None:
    (folder / "methods" / "mine.py").write_text(
        f"from dataclasses import dataclass\nSCOPE = 'seen'\n@dataclass(frozen=True, kw_only=True)\nclass Config:\n"
        f"    rate: float = {rate}\ndef build(config, seed):\n    return config.rate, seed\n")
    plugin.add_folder(folder)


def test_plugins_of_another_folder_are_the_package_s_equals(outside: Path) -> None:
    write(outside, rate=1.0)
    assert {"mine", "kd"} < set(plugin.names("methods"))
    assert plugin.constant("methods", "mine", "SCOPE", "stage") == "seen"
    assert plugin.create("methods", "mine", {}, 7) == (1.0, 7)
    write(outside, rate=2.0)
    assert plugin.create("methods", "mine", {}, 7) == (2.0, 7)


def test_a_folder_of_plugins_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder of plugins does not exist"):
        plugin.add_folder(tmp_path / "none")
