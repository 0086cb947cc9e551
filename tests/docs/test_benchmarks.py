"""Benchmarks import what exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = sorted(Path(__file__).parents[2].joinpath("benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_project_exists(path: Path) -> None:
    imports = [each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
               if isinstance(each, ast.ImportFrom) and str(each.module).startswith("fakemedia")]
    missing = [f"{each.module}.{alias.name}" for each in imports for alias in each.names
               if not _exists(str(each.module), alias.name)]
    assert not missing


def _exists(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None
