"""Runs whose results are at an address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fakemedia.artefacts.storage import Storage
from fakemedia.catalog.handles import find_checkpoint
from fakemedia.catalog.lineage import Lineage
from fakemedia.context.loading import load_context
from fakemedia.learning.training_loop import TrainingLoop
from fakemedia.networks.checkpoint import read_meta
from fakemedia.pipelines.runner import ProjectRunner
from tests.failure.test_faults import made
from tests.pipeline.conftest import change, run

RUN = "06_models/tiny/kd/seed0"


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryFileSystem]:
    """Return what is behind memory://, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def stored(ingested: Path, blank: None) -> Path:
    """Return an ingested project of one label whose results are at an address."""
    change(ingested, {"storage": {"address": "memory://runs/mine"}, "sequences": {"tiny": {"labels": ["kd"]}}})
    return ingested


@pytest.fixture
def elsewhere(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of another machine: the same configuration and photographs."""
    return shutil.copytree(stored, tmp_path_factory.mktemp("elsewhere"), dirs_exist_ok=True,
                           ignore=shutil.ignore_patterns("0[23456789]_*"))


def test_another_machine_goes_on_where_one_ended(stored: Path, elsewhere: Path, memory: MemoryFileSystem,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    run(stored, tags=["kd"])
    change(elsewhere, {"storage": {"cache_gib": 0.0}})
    with monkeypatch.context() as without_training:
        without_training.setattr(TrainingLoop, "run", None)
        run(elsewhere, only_missing_outputs=True)
    large = {name for name in made(stored) if "01_gan/" in name and name.endswith("safetensors")}
    assert len(large) == 2
    assert {name: data for name, data in made(elsewhere).items() if not name.endswith(".reduced")} == {
        name: data for name, data in made(stored).items() if name not in large}
    kept = memory.glob("/runs/mine/data/08_reporting/kept-runs/*")
    run(elsewhere, only_missing_outputs=True)
    assert memory.glob("/runs/mine/data/08_reporting/kept-runs/*") == kept != []
    assert "kd" in (elsewhere / "data/08_reporting/tiny/metrics.csv").read_text()

    shutil.rmtree(elsewhere / "data")
    monkeypatch.chdir(elsewhere)
    place = find_checkpoint("tiny/kd", load_context())
    assert place == elsewhere / "data" / RUN / "02_latent"
    assert read_meta(place) == read_meta(stored / "data" / RUN / "02_latent")
    assert (place / "calibration.json").exists()


def test_an_index_at_the_address_alone_is_compared_with_the_pictures(stored: Path, elsewhere: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    run(stored, tags=["ingestion"])
    monkeypatch.chdir(elsewhere)
    lineage = Lineage(load_context())
    for task in ("gan", "latent"):
        store = lineage.store(collection="tiny", task=task, split="train")
        assert lineage.content(store) == Lineage(load_context()).content(store) is not None
    assert lineage.index(collection="tiny", task="gan").path.is_dir()

    shutil.rmtree(elsewhere / "data/02_intermediate")
    change(elsewhere, {"collections": {"tiny": {"forge": None}}})
    next((elsewhere / "data/01_raw/tiny/gan/train/0_real").iterdir()).unlink()
    lineage = Lineage(load_context())
    assert lineage.content(lineage.index(collection="tiny", task="gan")) is None
    assert lineage.content(lineage.index(collection="tiny", task="latent")) is not None


def test_a_stage_goes_on_elsewhere_from_its_last_saved_state(
        stored: Path, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory, memory: MemoryFileSystem,
        monkeypatch: pytest.MonkeyPatch) -> None:
    alone = shutil.copytree(stored, tmp_path_factory.mktemp("alone"), dirs_exist_ok=True)
    change(alone, {"storage": {"address": "none"}})
    epochs, save_epoch = [], TrainingLoop._save_epoch

    def stop_in_the_second_stage(loop: TrainingLoop) -> None:
        save_epoch(loop)
        epochs.append(loop.epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLoop, "_save_epoch", stop_in_the_second_stage)
    with pytest.raises(KeyboardInterrupt):
        run(stored, tags=["kd"])
    run(elsewhere, tags=["ingestion"])
    run(elsewhere, tags=["kd"])
    assert epochs == [1, 2, 1, 2]
    run(alone, tags=["kd"])
    assert made(elsewhere) == made(alone)
    assert not memory.glob("/runs/mine/**/*.pt")


def test_results_of_other_settings_are_not_fetched_before_they_are_made_again(
        stored: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ["tiny-kd.train_kd_1_gan_seed0"]
    run(stored, node_names=first, runner=ProjectRunner())
    run(elsewhere, tags=["ingestion"])
    change(elsewhere, {"sequences": {"tiny": {"training": {"epochs": 1}}}})
    fetched, real = [], Storage.fetch
    monkeypatch.setattr(Storage, "fetch", lambda self, artefact, **options: (fetched.append(artefact),
                                                                             real(self, artefact, **options))[1])
    run(elsewhere, node_names=first, runner=ProjectRunner())
    assert (elsewhere / "data" / RUN / "01_gan/manifest.json").exists()
    assert not [path for path in fetched if path.is_relative_to(elsewhere / "data/06_models")]


def test_results_go_to_an_address_that_is_given_later(stored: Path, memory: MemoryFileSystem) -> None:
    change(stored, {"storage": {"address": "none"}})
    run(stored, tags=["kd"])
    assert not memory.find("/")
    change(stored, {"storage": {"address": "memory://runs/mine"}})
    run(stored, only_missing_outputs=True, tags=["kd"])
    names = {path.removeprefix("/runs/mine/data/") for path in memory.find("/runs/mine")}
    assert {f"{RUN}/02_latent/manifest.json", f"{RUN}/02_latent.history.jsonl", "03_primary/tiny/gan/train/pixels.u8",
            "07_model_output/tiny/kd/seed0/02_latent.parquet"} <= names
