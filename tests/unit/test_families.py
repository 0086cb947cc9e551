"""Do the measures find the families that tasks were forged with?"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fakemedia.forge import PACKAGED
from fakemedia.similarity.measure import TaskSample

PATH = Path(__file__).parents[2] / "benchmarks" / "similarity.py"
SPEC = importlib.util.spec_from_file_location("similarity_benchmark", PATH)
assert SPEC is not None
assert SPEC.loader is not None
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples() -> list[TaskSample]:
    return benchmark.forged_samples(PACKAGED, seed=5, images=200, crop=64, network=None)


@pytest.mark.parametrize("name", ["fingerprint", "transfer"])
def test_forged_families_are_recovered(samples: list[TaskSample], name: str) -> None:
    assert benchmark.recovered(benchmark.measures()[name], samples) == 1.0


@pytest.mark.parametrize("name", ["fingerprint", "transfer"])
def test_shuffled_images_have_no_families(samples: list[TaskSample], name: str) -> None:
    measure = benchmark.measures()[name]
    found = [benchmark.recovered(measure, benchmark.shuffled(samples, seed)) for seed in range(4)]
    assert abs(sum(found) / len(found)) < 0.4
