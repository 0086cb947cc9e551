"""What makes a result stale, and what does not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from fakemedia.catalog import names
from fakemedia.catalog.lineage import Lineage
from fakemedia.cli import cli
from fakemedia.context.loading import load_context
from fakemedia.core import plugin
from tests.pipeline.conftest import bootstrap, change, run

STAGES = ("01_gan", "02_latent")


@pytest.fixture(scope="module")
def trained_once(_ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with the checkpoints and distances of one method that starts from a weights file."""
    project = shutil.copytree(_ingested, tmp_path_factory.mktemp("trained"), dirs_exist_ok=True)
    local = project / "conf/local/parameters.yml"
    parameters = yaml.safe_load(local.read_text())
    parameters["sequences"]["tiny"]["methods"] = {"finetune": {}}
    local.write_text(yaml.safe_dump(parameters))
    run(project, tags=["training"])
    weights = project / "weights/start.safetensors"
    weights.parent.mkdir()
    shutil.copy(project / "data/06_models/tiny/finetune/seed0/01_gan/weights.safetensors", weights)
    change(project, {"sequences": {"tiny": {"network": {"pretrained": "weights/start.safetensors"},
                                            "measures": ["family", "frechet"]}},
                     "similarity": {"settings": {"family": {"families": {"gan": "gan", "latent": "latent"}}}}})
    run(project, tags=["ingestion", "grouping", "training"], only_missing_outputs=True)
    return project


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained_once, tmp_path / "copied", symlinks=True)


def current(project: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return which of the project's checkpoints and distances are current."""
    bootstrap()
    monkeypatch.setattr(Path, "cwd", lambda: project)
    lineage = Lineage(load_context(conf_source=str(project / "conf")))
    datasets = [names.CHECKPOINT.format(sequence="tiny", label="finetune", stage=stage, seed=0) for stage in STAGES]
    datasets += [names.DISTANCES.format(sequence="tiny", measure=measure) for measure in ("family", "frechet")]
    found = {dataset: lineage.artefact(dataset) for dataset in datasets}
    return {dataset.partition(".")[2].partition("__seed")[0] for dataset, artefact in found.items()
            if artefact is not None and lineage.content(artefact) is not None}


ALL = {"checkpoint__01_gan", "checkpoint__02_latent", "family", "frechet"}


def test_a_copied_project_stays_current_and_so_do_touched_files(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert current(trained, monkeypatch) == ALL
    for path in (trained / "data").rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000, 1_000_000))
    assert current(trained, monkeypatch) == ALL
    monkeypatch.chdir(trained)
    result = CliRunner().invoke(cli, ["plan"])
    assert result.exit_code == 0, result.output
    assert "0 of 2 stages to train" in result.output


@pytest.mark.parametrize("version", ["fakemedia.learning.recipes.VERSION", ("methods", "finetune"),
                                     ("networks", "convnet")])
def test_another_version_of_the_code_makes_checkpoints_stale(trained: Path, monkeypatch: pytest.MonkeyPatch,
                                                             version: str | tuple[str, str]) -> None:
    if isinstance(version, str):
        monkeypatch.setattr(version, 99)
    else:
        real = plugin.constant
        monkeypatch.setattr(plugin, "constant", lambda kind, name, key, default: 99 if (
            (kind, name, key) == (*version, "VERSION")) else real(kind, name, key, default))
    assert not current(trained, monkeypatch) & {"checkpoint__01_gan", "checkpoint__02_latent"}


def test_another_version_of_the_code_retrains(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted((trained / "data/06_models").rglob("checkpoint.json"))]

    before = made()
    run(trained, tags=["training"])
    assert made() == before
    monkeypatch.setattr("fakemedia.learning.recipes.VERSION", 99)
    run(trained, tags=["training"])
    assert all(new > old for new, old in zip(made(), before, strict=True))


def test_other_weights_in_the_same_file_make_stale_what_starts_from_them(trained: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(trained / "data/06_models/tiny/finetune/seed0/02_latent/weights.safetensors",
                trained / "weights/start.safetensors")
    assert current(trained, monkeypatch) == {"family"}


def test_other_families_make_what_reads_them_stale(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(trained, {"similarity": {"settings": {"family": {"families": {"latent": "gan"}}}}})
    assert current(trained, monkeypatch) == ALL - {"family"}


def test_relative_weights_count_from_the_project_wherever_the_command_runs(
        trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert current(trained, monkeypatch) == ALL
    run(trained, tags=["training"])


def test_a_damaged_result_counts_as_missing(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trained / "data/08_reporting/tiny/similarity/family.csv").write_text("")
    (trained / "data/06_models/tiny/finetune/seed0/01_gan/weights.safetensors").unlink()
    assert current(trained, monkeypatch) == {"frechet"}


@pytest.fixture
def kedro_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    bootstrap()
    monkeypatch.chdir(trained)
    return lambda *options: CliRunner().invoke(cli, ["run", *options])


def test_one_node_runs_by_itself_with_what_it_needs_in_memory(trained: Path, kedro_run: Callable[..., Result]) -> None:
    shutil.rmtree(trained / "data/06_models/tiny/finetune/seed0/02_latent")
    result = kedro_run("--nodes", "tiny-finetune.train_finetune_2_latent_seed0")
    assert result.exit_code == 0, result.output
    assert (trained / "data/06_models/tiny/finetune/seed0/02_latent/checkpoint.json").exists()


def test_a_run_from_a_node_on_makes_what_it_needs(trained: Path, kedro_run: Callable[..., Result]) -> None:
    result = kedro_run("--from-nodes", "tiny-report.tabulate", "--to-nodes", "tiny-report.write_tables")
    assert result.exit_code == 0, result.output
    assert (trained / "data/08_reporting/tiny/metrics.csv").exists()


def test_tags_that_are_given_twice_are_added(trained: Path, kedro_run: Callable[..., Result]) -> None:
    shutil.rmtree(trained / "data/08_reporting")
    shutil.rmtree(trained / "data/06_models/tiny/finetune/seed0/02_latent")
    result = kedro_run("--tags", "grouping", "--tags", "training")
    assert result.exit_code == 0, result.output
    assert (trained / "data/08_reporting/tiny/similarity/family.csv").exists()
    assert (trained / "data/06_models/tiny/finetune/seed0/02_latent/checkpoint.json").exists()


def test_a_failed_node_is_followed_by_no_contrary_advice(trained: Path, kedro_run: Callable[..., Result],
                                                         monkeypatch: pytest.MonkeyPatch,
                                                         caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("fakemedia.learning.sequence.learn_stage", lambda **_: 1 / 0)
    result = kedro_run("--tags", "training")
    assert result.exit_code == 1
    assert "--from-nodes" not in result.output + caplog.text


def test_manifests_hold_no_absolute_path(trained_once: Path) -> None:
    for path in trained_once.rglob("*.json"):
        if ".manifest" in path.parts or path.name == "manifest.json":
            assert str(trained_once) not in path.read_text(), path
            assert json.loads(path.read_text())["recipe"]
