"""The examples in pages and docstrings do what they are said to do."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.plan import make_plan as settle
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import SPLITS, make_stages
from fakemedia.evaluation.perturbations.perturbation import make_conditions
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.learning.sequence import learn_plan
from fakemedia.networks.checkpoint import load
from fakemedia.runtime.device import Runtime
from fakemedia.similarity.measure import TaskSample, distance_matrix
from tests.plans import make_plan
from tests.unit.conftest import GivenPictures, noise

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
WITH_EXAMPLES = [path for path in sorted((ROOT / "src").rglob("*.py"))
                 if re.search("^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)]


def _example(page: str, name: str) -> str:
    """Return the Python code of `page` that follows the mention of the file `name`."""
    _, _, rest = (HOW_TO / page).read_text(encoding="utf-8").partition(f"/{name}.py`")
    found = re.search(r"```python\n(.*?)```", rest, re.DOTALL)
    assert found, f"{page} has no code for {name}"
    return found[1]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder for plugins, whose files are forgotten afterwards."""
    monkeypatch.setattr(plugin, "_roots", list(plugin._roots))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if tmp_path in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]
    plugin.names.cache_clear()


def _install(folder: Path, kind: str, page: str, name: str) -> None:
    place = folder.joinpath(*kind.split("."))
    place.mkdir(parents=True)
    (place / f"{name}.py").write_text(_example(page, name), encoding="utf-8")
    plugin.add_folder(folder)


def test_the_method_of_the_page_is_the_notebook_s() -> None:
    cells = nbformat.read(ROOT / "notebooks" / "new_method.ipynb", as_version=4).cells
    (written,) = [cell.source for cell in cells if cell.source.startswith("%%writefile")]
    assert written.partition("\n")[2].strip() == _example("add-a-method.md", "rehearsal").strip()


@pytest.mark.parametrize("name", ["rehearsal", "nearest_mean"])
def test_methods(plugins: Path, name: str) -> None:
    _install(plugins, "methods", "add-a-method.md", name)
    stores = {}
    for seed, task in enumerate("ab"):
        source = GivenPictures(task, noise(24, 12, 40.0, seed))
        index = build_index(source, task, workers=1, progress=False)
        stores[task] = build_store(index, source, "train", plugins / "stores" / task, workers=1, progress=False)
    plan = make_plan([name], stages=make_stages([("a",), ("b",)]),
                     network=Plugin(name="convnet", settings={"width": 8, "depth": 2}),
                     training=TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01)).resolved()
    scores = learn_plan(plan, dict.fromkeys(SPLITS, stores), runtime=Runtime(accelerator="cpu"), folder=plugins / "out")
    assert len(scores) == 2 * 2 * 24
    last = scores.loc[scores["stage"] == 2]
    assert ((last["logit"] > 0) == last["label"]).mean() > 0.6
    assert load(plugins / "out" / name / "seed0" / "02_b").method_state


def test_network(plugins: Path) -> None:
    _install(plugins, "networks", "add-a-network.md", "tiny")
    network = plugin.create("networks", "tiny", {"pretrained": "none"}, 0).eval()
    images = torch.zeros((2, 3, 32, 32), dtype=torch.uint8)
    assert network(network.prepare(images)).shape == (2, 2)


def test_measure(plugins: Path) -> None:
    _install(plugins, "similarity", "add-a-measure.md", "brightness")
    samples = [TaskSample(task=task, images=np.stack([np.full((8, 8, 3), level) + np.eye(8)[..., None]] * 2)
                          .astype(np.uint8), labels=np.array([0, 1])) for task, level in (("dark", 10), ("light", 30))]
    distances = distance_matrix(plugin.create("similarity", "brightness", {}), samples)
    assert distances.loc["dark", "light"] == pytest.approx(20)


def test_source(plugins: Path) -> None:
    _install(plugins, "sources", "add-a-source.md", "flat")
    (plugins / "pictures" / "mine").mkdir(parents=True)
    for number in range(40):
        for name in ("real", "fake"):
            Image.new("RGB", (8, 8)).save(plugins / "pictures" / "mine" / f"{name}_{number}.png")
    source = plugin.create("sources", "flat", {"root": str(plugins / "pictures")})
    assert source.tasks() == ["mine"]
    items = source.items("mine")
    assert {item.split for item in items} == {"train", "val", "test"}
    assert all(len({item.split for item in items if item.source == photograph}) == 1
               for photograph in {item.source for item in items})
    assert source.reader(items[0].path)().startswith(b"\x89PNG")


def test_forge_family(plugins: Path) -> None:
    _install(plugins, "forge", "add-a-forge-family.md", "posterise")
    make = plugin.load("forge", "posterise").build(plugin.resolve("forge", "posterise", {"bits": 3}))
    crop = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    real, fake = make(crop, np.random.default_rng(0))
    assert (real == crop).all()
    assert len(np.unique(fake)) == 6
    assert (fake == crop // 32 * 32).all()


def test_perturbation(plugins: Path) -> None:
    _install(plugins, "evaluation.perturbations", "add-a-perturbation.md", "posterise")
    _, *dropped = make_conditions({"posterise": [0, 3]}, where="here")
    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    assert (dropped[0](picture, "id") == picture).all()
    assert (dropped[1](picture, "id") == picture // 8 * 8).all()
    with pytest.raises(UserError, match="a number of bits from 0 to 7"):
        make_conditions({"posterise": [8]}, where="here")


@pytest.mark.parametrize("page", [ROOT / "README.md", HOW_TO / "own-data.md"], ids=lambda page: page.name)
def test_the_first_sequence_of_a_page(page: Path) -> None:
    found = re.search(r"```yaml\n(collections:.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    plan = settle(yaml.safe_load(found[1]), "my_sequence").resolved()
    assert {"kd", "ridge"} <= {method.label for method in plan.methods}, "the labels that README and pages score"


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_docstrings(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed
