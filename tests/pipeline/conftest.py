"""A small project in a temporary folder: the real configuration, with a tiny sequence of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fakemedia.catalog.project_catalog import HANDED_OVER
from tests.figures import leave_blank, stub_figures

ROOT = Path(__file__).parents[2]
LOCAL = "conf/local/parameters.yml"
SEQUENCES = "conf/base/parameters_sequences.yml"


@pytest.fixture(autouse=True)
def no_session() -> Iterator[None]:
    """Let no test see the configuration that another one loaded."""
    HANDED_OVER.set(None)
    yield
    HANDED_OVER.set(None)


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingest in this process alone; what several processes do is for test_run and the unit tests."""
    use_one_core(monkeypatch)


def use_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all processor cores but one."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of a project whose only sequence takes seconds."""
    return make_project(tmp_path)


@pytest.fixture
def full_project(tmp_path: Path) -> Path:
    """Return the same with all sequences of the real configuration beside the tiny one, which is the default."""
    return add_sequences(make_project(tmp_path))


@pytest.fixture(scope="session")
def _ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(tmp_path_factory.mktemp("ingested"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_one_core(monkeypatch)
        stub_figures(monkeypatch)
        run(project, tags=["ingestion"])
    return project


@pytest.fixture
def ingested(_ingested: Path, tmp_path: Path) -> Path:
    """Return a copy of a project whose data are ingested; the ingestion runs once a session."""
    return shutil.copytree(_ingested, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures as stubs."""
    stub_figures(monkeypatch)


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures as stubs without making their axes."""
    leave_blank(monkeypatch)


def make_project(folder: Path) -> Path:
    """Write the project into `folder` and return it. Its tiny sequence is the only one: each takes time to load."""
    for part in ("conf", "pyproject.toml", ".telemetry"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    (folder / "src").mkdir()
    (folder / SEQUENCES).unlink()
    change(folder, {
        "sequence": "tiny",
        "sequences": {"tiny": {
            "collection": "tiny", "tasks": ["gan", "latent"], "network": {"name": "convnet", "width": 8, "depth": 3},
            "training": {"epochs": 2, "batch_size": 8, "lr": 0.01, "crop": 24},
            "methods": {"finetune": {}, "kd": {}, "ewc": {}, "joint": {}},
        }},
        "collections": {"tiny": {
            "source": {"name": "folder", "root": "data/01_raw/tiny"},
            "forge": {"size": 32, "per_class": {"train": 24, "val": 8, "test": 16},
                      "tasks": {"gan": {"family": "upsampling", "kernel": 3},
                                "latent": {"family": "latent", "factor": 4}}},
        }},
    })
    return folder


def add_sequences(project: Path) -> Path:
    """Add the sequences of the real configuration and return the project."""
    shutil.copy(ROOT / SEQUENCES, project / SEQUENCES)
    return project


def change(project: Path, parameters: dict) -> None:
    """Merge `parameters` into the project's local ones."""
    path = project / LOCAL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(_merged(read(project), parameters)))


def read(project: Path) -> dict:
    """Return the project's local parameters."""
    path = project / LOCAL
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def _merged(old: dict, new: dict) -> dict:
    return {**old, **{key: _merged(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict)
                      else value for key, value in new.items()}}


def bootstrap() -> None:
    """Let Kedro know the package, and no pipelines that it made for another project."""
    _configure()
    pipelines.configure("fakemedia.pipeline_registry")


@cache
def _configure() -> None:
    """Do the part of it that is the same for all projects, and takes longer the more modules are loaded."""
    bootstrap_project(ROOT)


def run(project: Path, **options) -> None:
    """Run the project's default pipeline in this process."""
    bootstrap()
    with KedroSession.create(project_path=project) as session:
        session.run(**options)
