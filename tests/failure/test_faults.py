"""What goes wrong in the middle of a run: one message, and nothing of earlier stages is lost."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load

from fakemedia.learning import trainer
from tests.pipeline.conftest import bootstrap, change, run


@pytest.fixture
def prepared(ingested: Path) -> Path:
    """Return a project with two methods and its data ingested."""
    local = ingested / "conf/local/parameters.yml"
    parameters = yaml.safe_load(local.read_text())
    parameters["sequences"]["tiny"]["methods"] = {"kd": {}, "ewc": {}}
    local.write_text(yaml.safe_dump(parameters))
    return ingested


@pytest.fixture
def command(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that gives `kedro run --tags training` in the project."""
    monkeypatch.chdir(prepared)

    def give(*options: str) -> Result:
        bootstrap()
        from fakemedia.cli import cli

        return CliRunner().invoke(cli, ["run", "--tags", "training", *options])

    return give


@pytest.fixture
def before_second(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that lets something happen once, just before the second training of a run."""

    def arrange(happen: Callable[[], object]) -> None:
        real, calls = trainer.StageTrainer.train, []

        def train(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                happen()
            return real(*args, **kwargs)

        monkeypatch.setattr(trainer.StageTrainer, "train", train)

    return arrange


def made(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes() for part in ("06_models", "07_model_output")
            for path in (project / "data" / part).rglob("*") if path.is_file() and path.suffix != ".jsonl"}


def assert_told(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.output.count("Error: ") == 1
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let no file grow beyond `most` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_writing_that_fails_in_mid_run(prepared: Path, command, before_second) -> None:
    with small_files(10**8):
        before_second(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY)))
        assert_told(command(), "Writing failed", "File too large", "what was saved before is kept", "resume.pt")
    earlier = made(prepared)
    assert sum(name.endswith("checkpoint.json") for name in earlier) == 1
    assert not [name for name in earlier if "partial" in name]
    assert command().exit_code == 0
    later = made(prepared)
    assert sum(name.endswith("checkpoint.json") for name in later) == 4
    assert {name: later[name] for name in earlier} == earlier


def test_a_folder_that_cannot_be_written(prepared: Path, command) -> None:
    (prepared / "data/06_models/tiny").mkdir(parents=True)
    (prepared / "data/06_models/tiny/kd").write_text("in the way")
    assert_told(command(), "Writing failed", "06_models/tiny/kd", "writable folder")
    assert (prepared / "data/06_models/tiny/kd").read_text() == "in the way"


@pytest.mark.slow
def test_data_deleted_in_mid_run(prepared: Path, command, before_second) -> None:
    def delete() -> None:
        for task in ("gan", "latent"):
            shutil.rmtree(prepared / f"data/03_primary/tiny/{task}", ignore_errors=True)

    before_second(delete)
    assert_told(command(), "03_primary/tiny")
    earlier = made(prepared)
    run(prepared, tags=["ingestion"])
    assert command().exit_code == 0
    later = made(prepared)  # Manifests differ of results that were written after the deletion: they counted as stale.
    kept = {name: data for name, data in earlier.items() if ".manifest" not in name}
    assert {name: later[name] for name in kept} == kept


@pytest.mark.slow
def test_a_learning_rate_a_thousand_times_too_high(prepared: Path, command) -> None:
    first = command()
    assert first.exit_code == 0, first.output
    earlier = made(prepared)
    change(prepared, {"sequences": {"tiny": {"training": {"lr": 10.0, "optimizer": "sgd", "schedule": "constant",
                                                          "momentum": 0.9}}}})
    assert_told(command(), "gave a value that is not finite", "stage 02_latent", "step ", "learning rate 10",
                "cross_entropy", "penalty", "lower training.lr")
    later = made(prepared)
    second = {name: data for name, data in earlier.items() if "02_latent/" in name}
    assert len(second) >= 6
    assert {name: later[name] for name in second} == second
    for name, data in later.items():
        if name.endswith(".safetensors"):
            assert all(tensor.isfinite().all() for tensor in load(data).values())
