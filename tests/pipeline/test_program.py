"""The command `fakemedia`, in a project and outside, and the wheel without its repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakemedia.core.extras import install
from tests.pipeline.conftest import bootstrap, change
from tests.scoring import write_checkpoint, write_pictures

ROOT = Path(__file__).parents[2]


def call(*arguments: str, cwd: Path, code: int = 0, **environment: str) -> str:
    """Run `python -m fakemedia` as another process in `cwd`; return what it prints."""
    done = subprocess.run([sys.executable, "-m", "fakemedia", *arguments], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_help_is_light_and_has_every_command(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    listed = call("--help", cwd=tmp_path / "below")
    assert listed.startswith("Usage: fakemedia [OPTIONS] COMMAND")
    for command in ("init", "run", "step", "score", "export", "plan", "compare"):
        assert f"\n  {command} " in listed
    code = ("import sys\nfrom fakemedia.__main__ import main\ntry:\n    main([*sys.argv[1:], '--help'])\nfinally:\n"
            "    heavy = {'torch', 'pandas', 'numpy', 'mlflow', 'fastapi', 'kedro_viz'} & set(sys.modules)\n"
            "    assert not heavy, heavy\n")
    for command in ((), ("score",)):
        subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, cwd=tmp_path,
                       env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    assert "fakemedia, version " in call("--version", cwd=tmp_path)


def test_completion(tmp_path: Path) -> None:
    completed = call(cwd=tmp_path, _FAKEMEDIA_COMPLETE="bash_complete", COMP_WORDS="fakemedia ex", COMP_CWORD="1")
    assert completed.split() == ["plain,export"]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that calls the program in this process, in a folder without a project."""
    monkeypatch.chdir(tmp_path)
    bootstrap()
    from fakemedia.cli.program import program

    return lambda *arguments: CliRunner().invoke(program, arguments)


def test_a_new_project(invoke: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("init", "mine").output == "mine: a project. Try it: cd mine && fakemedia plan\n"
    project = tmp_path / "mine"
    for path in (ROOT / "conf/base").iterdir():
        copied = project / "conf/base" / path.name
        assert copied.read_bytes() == path.read_bytes()
        assert not copied.is_symlink()
    assert [path.name for path in (project / "conf").iterdir() if path.name == "local"] == ["local"]
    assert not list((project / "conf/local").iterdir())
    again = invoke("init", "mine")
    assert again.exit_code == 1
    assert "without conf/ and pyproject.toml" in again.output
    change(project, {"sequence": "cddb_hard"})
    monkeypatch.chdir(project / "conf")
    assert "Sequence cddb_hard" in invoke("plan").output


def test_outside_a_project(invoke: Callable[..., Result], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    write_pictures(tmp_path / "photos")
    told = invoke("score", "photos", "--checkpoint", "model").output
    assert told.startswith("Detector: model (convnet")
    assert "5 scored" in told
    assert "fakemedia init FOLDER" in invoke("plan").output
    refused = call("--tags", "training", cwd=tmp_path, code=1)
    assert "There is no project here" in refused
    assert "fakemedia init FOLDER" in refused
    assert "Traceback" not in refused


def test_extras_are_installed_from_the_clone_or_the_index(tmp_path: Path) -> None:
    assert install("onnx") == "pip install -e '.[onnx]'"
    assert install("onnx", tmp_path / "site-packages/fakemedia") == "pip install 'fakemedia[onnx]'"


@pytest.mark.slow
def test_the_wheel_works_without_the_repository(tmp_path: Path) -> None:
    clone, site, work = tmp_path / "clone", tmp_path / "site", tmp_path / "work"
    for part in ("src", "conf/base", "conf/logging.yml", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, clone / part, **({"symlinks": True} if copy is shutil.copytree else {}))
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(clone)], check=True)
    (wheel,) = tmp_path.glob("fakemedia-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    shutil.rmtree(clone)
    program, environment = site / "bin/fakemedia", {**os.environ, "PYTHONPATH": str(site)}

    def use(*arguments: str, cwd: Path = work) -> str:
        done = subprocess.run([sys.executable, str(program), *arguments], cwd=cwd, capture_output=True, text=True,
                              env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    place = subprocess.run([sys.executable, "-c", "import fakemedia; print(fakemedia.__file__)"], cwd=work, check=True,
                           capture_output=True, text=True, env=environment).stdout
    assert place.strip() == str(site / "fakemedia/__init__.py")
    use("init", "project")
    kedro = subprocess.run([sys.executable, "-m", "kedro", "registry", "list"], cwd=work / "project", check=True,
                           capture_output=True, text=True, env=environment)
    assert "cddb_hard" in kedro.stdout
    tiny = {"collection": "tiny", "tasks": ["gan"], "network": {"name": "convnet", "width": 8, "depth": 3},
            "training": {"epochs": 1, "batch_size": 8, "lr": 0.01, "crop": 24}, "methods": {"finetune": {}}}
    forged = {"size": 32, "per_class": {"train": 24, "val": 8, "test": 16},
              "tasks": {"gan": {"family": "upsampling", "kernel": 3}}}
    change(work / "project", {
        "sequence": "tiny", "sequences": {"tiny": tiny},
        "collections": {"tiny": {"source": {"name": "folder", "root": "data/01_raw/tiny"}, "forge": forged}}})
    assert "Report: " in use("run", cwd=work / "project")
    assert (work / "project/data/08_reporting/tiny/report.html").is_file()
    use("export", "tiny/finetune", "--to", str(work / "detector"), cwd=work / "project")
    write_pictures(work / "photos")
    assert "5 scored" in use("score", "photos", "--checkpoint", "detector")
