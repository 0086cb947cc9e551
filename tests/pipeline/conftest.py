"""A small project in a temporary folder: the real configuration, with a tiny sequence of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fakemedia.catalog.project_catalog import CURRENT_CONTEXT
from fakemedia.forge import ForgeConfig, forge
from fakemedia.scoring import onnx_export
from tests.figures import leave_blank, stub_figures
from tests.registries import new_registry

ROOT = Path(__file__).parents[2]
LOCAL = "conf/local/parameters.yml"
Invoke = Callable[..., Result]
SEQUENCES = "conf/base/parameters_sequences.yml"


@pytest.fixture(autouse=True)
def no_session() -> Iterator[None]:
    """Let no test see the configuration that another one loaded."""
    CURRENT_CONTEXT.set(None)
    yield
    CURRENT_CONTEXT.set(None)


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


@pytest.fixture(scope="session")
def _learned(_ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = shutil.copytree(_ingested, tmp_path_factory.mktemp("learned") / "project")
    change(project, {"sequences": {"tiny": {"methods": {
        "ridge": {"tune": "head"}, "slda": {"tune": "head"}, "experts": {"tune": "head"}, "lwf": {"tune": "head"},
        "replay": {"tune": "head", "pictures": 16}}}}})
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_one_core(monkeypatch)
        stub_figures(monkeypatch)
        run(project, tags=["ridge"])
    return project


@pytest.fixture
def learned(_learned: Path, tmp_path: Path) -> Path:
    """Return a copy of a project where ridge has learned the tasks `gan` and `latent`; it learns once a session."""
    return shutil.copytree(_learned, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def invoke(learned: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that calls our commands in `learned`, whose registry has no version; ONNX files are stubs."""
    return commands(learned, monkeypatch)


def commands(project: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that calls our commands in `project`, with a new registry, and stubs for ONNX files."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(onnx_export, "export", lambda folder, out: out.write_bytes(b"onnx"))
    bootstrap()
    from fakemedia.cli import cli

    new_registry(project / "data/09_registry")
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def promote_first(invoke: Invoke) -> None:
    """Let the version that knows `gan` alone serve."""
    for arguments in (("register", "tiny/ridge/0/01_gan"), ("promote", "--by", "ada")):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output


def forge_fresh(folder: Path, **per_class: int) -> Path:
    """Forge `fresh`, a task of the family that the first version does not know, in `folder`; return its folder."""
    tasks = {"fresh": {"family": "latent", "factor": 4}}
    forge(ForgeConfig(size=32, per_class=per_class or {"train": 24, "val": 8, "test": 16}, tasks=tasks), folder,
          workers=1)
    return folder / "fresh"


def assert_refused(result: Result, *parts: str) -> None:
    """Assert that a command ended with one message that has these parts."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


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
