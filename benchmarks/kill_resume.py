"""Kill a run with SIGKILL at random moments, give the same command again, and compare with a run that was left alone.

    python benchmarks/kill_resume.py [--kills 20] [--seed 0] [--fresh] [--json]

A small collection of three tasks is forged and ingested once. `kedro run --tags training` then learns three stages by
fine-tuning, kd and ewc and scores every checkpoint. Each trial starts from the ingested data, is killed at a moment
drawn uniformly over the time that training, saving and scoring take, and is run again to the end. Checkpoints and
scores must then equal those of the undisturbed run byte for byte, and the histories but for their times; no other file
may be left. The state is saved after every step: kills fall into steps, into the writing of states and checkpoints,
and into scoring.

Imports take longer than all the rest, so a run is a fork of this process, which has imported the libraries and computed
nothing; with --fresh, every run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", DO_NOT_TRACK="1", KEDRO_DISABLE_TELEMETRY="1")

import lightning_fabric  # noqa: F401  (here and below: imported before the forks)
import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import torch
import yaml
from kedro.framework.cli.cli import main as kedro

from fakemedia.learning import sequence  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
MADE = ("data/06_models", "data/07_model_output")
PARAMETERS = {
    "sequence": "killed",
    "runtime": {"accelerator": "cpu", "save_minutes": 0},
    "sequences": {"killed": {
        "collection": "killed", "tasks": ["gan", "latent", "swap"],
        "network": {"name": "convnet", "width": 8, "depth": 3},
        "training": {"epochs": 3, "batch_size": 8, "lr": 0.01, "crop": 24},
        "methods": {"finetune": {}, "kd": {}, "ewc": {"fisher_images": 64}},
    }},
    "collections": {"killed": {
        "source": {"name": "folder", "root": "data/01_raw/killed"},
        "forge": {"size": 32, "per_class": {"train": 120, "val": 16, "test": 24},
                  "tasks": {"gan": {"family": "upsampling", "kernel": 3}, "latent": {"family": "latent", "factor": 4},
                            "swap": {"family": "blending", "factor": 2, "amount": 1.5}}},
    }},
}


def make_project(folder: Path) -> None:
    """Write a project with the repository's configuration and the small sequence."""
    for part in ("conf", "pyproject.toml", ".telemetry"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    (folder / "src").mkdir()
    (folder / "conf/local/parameters.yml").write_text(yaml.safe_dump(PARAMETERS))


class Run:
    """`kedro run` with some options in a process of its own."""

    def __init__(self, project: Path, *options: str, fresh: bool) -> None:
        self.log, self.code = project / "log.txt", None
        with self.log.open("ab") as log:
            if fresh:
                path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
                command = [sys.executable, "-m", "kedro", "run", *options]
                self.pid = subprocess.Popen(command, cwd=project, stdout=log, stderr=log,
                                            env={**os.environ, "PYTHONPATH": path}).pid
            else:
                self.pid = os.fork()
                if self.pid == 0:
                    _become(project, ["kedro", "run", *options], log.fileno())

    def ended(self, wait: int = os.WNOHANG) -> bool:
        """Return whether it has ended; `code` is then its exit code, negative for a signal."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, wait)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def kill(self) -> None:
        """Kill it as the kernel does when memory runs out."""
        os.kill(self.pid, signal.SIGKILL)
        self.ended(wait=0)

    def until_training(self) -> None:
        """Wait until the first file of a stage is written."""
        while not (self.log.parent / MADE[0]).exists() and not self.ended():
            time.sleep(0.002)

    def finish(self) -> None:
        """Wait until it has ended well."""
        self.ended(wait=0)
        if self.code:
            raise SystemExit(f"kedro run ended with {self.code}:\n{self.log.read_text()[-3000:]}")


def _become(project: Path, arguments: list[str], log: int) -> None:
    """Run the command in this forked process, which never returns."""
    code = 1
    try:
        os.chdir(project)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = arguments
        kedro()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def made(project: Path) -> dict[str, bytes]:
    """Return the files that training has made, histories without their times."""
    files = {str(path.relative_to(project)): path.read_bytes()
             for part in MADE for path in sorted((project / part).rglob("*")) if path.is_file()}
    return {name: _timeless(data) if name.endswith(".jsonl") else data for name, data in files.items()}


def _timeless(lines: bytes) -> bytes:
    clock = ("seconds", "images_per_second", "memory_mib")
    records = [{key: value for key, value in json.loads(line).items() if key not in clock}
               for line in lines.splitlines()]
    return json.dumps(records).encode()


def where(project: Path) -> str:
    """Return what a killed run has left: checkpoints, scores, and the state of the stage in training."""
    files = [path.relative_to(project) for part in MADE for path in (project / part).rglob("*")]
    count = {"checkpoints": sum(path.name == "checkpoint.json" and ".partial" not in str(path) for path in files),
             "scores": sum(path.suffix == ".parquet" for path in files)}
    told = [f"{number} {what}" for what, number in count.items()]
    for path in files:
        if path.name.endswith(".resume.pt"):
            state = torch.load(project / path, weights_only=True)
            done = f"{len(state['history'])} epochs and {state['step']} steps of"
            told.append(f"{done} {path.parts[3]} {path.name.removesuffix('.resume.pt')}")
    if any(".partial" in str(path) or path.name.startswith(".") for path in files):
        told.append("an incomplete file")
    return ", ".join(told)


def duration(project: Path, *, fresh: bool) -> float:
    """Run undisturbed; return the seconds from the first file of a stage to the end."""
    run = Run(project, "--tags", "training", fresh=fresh)
    run.until_training()
    begun = time.monotonic()
    run.finish()
    return time.monotonic() - begun


def trial(data: Path, project: Path, seconds: float, *, fresh: bool) -> str | None:
    """Kill a run `seconds` after its first file of a stage and run again; return where it was, None if it had ended."""
    shutil.copytree(data, project)
    run = Run(project, "--tags", "training", fresh=fresh)
    run.until_training()
    time.sleep(seconds)
    if run.ended():
        run.finish()
        return None
    run.kill()
    place = where(project)
    Run(project, "--tags", "training", fresh=fresh).finish()
    return place


def measure(kills: int, seed: int, work: Path, *, fresh: bool) -> dict:
    """Return the results of all trials."""
    draw = random.Random(seed)
    data, whole = work / "data", work / "whole"
    data.mkdir()
    make_project(data)
    Run(data, "--tags", "ingestion", fresh=fresh).finish()
    shutil.copytree(data, whole)
    span, expected, trials = duration(whole, fresh=fresh), made(whole), []
    while len(trials) < kills:
        seconds, project = draw.random() * span, work / f"trial{len(trials)}"
        place = trial(data, project, seconds, fresh=fresh)
        found = made(project)
        shutil.rmtree(project)
        if place is None:
            continue
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        trials.append({"seconds": seconds, "place": place, "differing": differing})
        print(f"{len(trials):3d}  {seconds:5.2f} s  {place}: {differing or 'identical'}", file=sys.stderr, flush=True)
    return {"files": len(expected), "training_seconds": span, "kills": kills,
            "identical": sum(not trial["differing"] for trial in trials), "trials": trials}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--fresh", action="store_true", help="start every run as a process of its own")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        results = measure(options.kills, options.seed, Path(work), fresh=options.fresh)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        print("{identical} of {kills} killed runs ended identical, {files} files each".format_map(results))
    return int(results["identical"] < results["kills"])


if __name__ == "__main__":
    sys.exit(main())
