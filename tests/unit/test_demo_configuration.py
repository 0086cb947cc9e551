"""The demo as configured: its tasks, that the lock installs what forges them, and that its page describes them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakemedia.core.plugin import configure, constant
from fakemedia.forge import ForgeConfig, families

ROOT = Path(__file__).parents[2]


def base(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "conf" / "base" / f"parameters_{name}.yml").read_text(encoding="utf-8"))


FORGE = base("ingestion")["collections"]["demo"]["forge"]
SEQUENCES = base("sequences")["sequences"]
FAMILIES = families(configure(ForgeConfig, FORGE, where="collections.demo.forge"))


def package(family: str) -> str | None:
    return constant("forge", family, "PACKAGE", None)


def test_the_demo_learns_all_its_tasks_of_at_least_four_families_two_of_them_networks():
    assert set(SEQUENCES["demo"]["tasks"]) == set(FAMILIES)
    assert len(set(FAMILIES.values())) >= 4
    assert sum(package(family) is not None for family in FAMILIES.values()) >= 2


def test_the_demo_needs_only_packages_that_are_always_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    for needed in {package(family) for family in FAMILIES.values()} - {None}:
        assert any(given.startswith(f"{needed}>=") for given in project["dependencies"])
        assert needed in locked


@pytest.mark.parametrize("sequence", ["demo", "demo_convnet"])
def test_a_memory_keeps_five_percent_of_the_training_pictures_at_most(sequence):
    pictures = 2 * FORGE["per_class"]["train"] * len(FAMILIES)
    kept = [label["pictures"] for label in SEQUENCES[sequence]["methods"].values() if "pictures" in label]
    assert kept
    assert max(kept) <= 0.05 * pictures


def test_the_page_of_the_demo_lists_its_tasks_with_their_families():
    page = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    for task, family in FAMILIES.items():
        assert f"| `{task}` | {family} |" in page
