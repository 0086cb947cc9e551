"""What the unattended loops consist of: pictures of generators, commands that are killed, services that are polled."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from kedro.framework.cli.cli import main as kedro
from PIL import Image
from scipy.ndimage import gaussian_filter

from fakemedia.pipelines.update import watch
from fakemedia.registry.client import Registry

ROOT = Path(__file__).resolve().parents[1]
SIDE = 32
COUNTS = {"train": 90, "val": 40, "test": 120}
PHASES = ("index_folder", "store_folder", "check_task", "learn_task", "register_candidate", "run_gate", "promote",
          "record_outcome", "keep_files", "set_alias", "finish")
"""Where commands are killed: functions of `pipelines.update.watch`, and methods of the registry."""
LAST = 1.0
"""Seconds before a kill whose rows the log may lose."""


def pictures(kind: str, seed: int, count: int) -> list[np.ndarray]:
    """Return `count` pictures, uint8 (SIDE, SIDE, 3): `real`, or of the generator `kind`, a wave of its own colour."""
    rng, trace = np.random.default_rng([seed, *kind.encode()]), np.random.default_rng(list(kind.encode()))
    period, angle, colour = trace.uniform(2, 3.2), trace.uniform(0, np.pi), trace.standard_normal(3)
    y, x = np.mgrid[:SIDE, :SIDE]
    found = []
    for _ in range(count):
        smooth = gaussian_filter(rng.standard_normal((SIDE, SIDE, 3)), (1, 1, 0))
        grey = 128 + 40 * smooth / smooth.std() + 2 * rng.standard_normal((SIDE, SIDE, 3)) + 4 * rng.standard_normal(3)
        if kind != "real":
            wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + rng.uniform(0, 2 * np.pi))
            grey = grey + rng.uniform(16, 24) * wave[:, :, None] * colour / np.linalg.norm(colour)
        found.append(np.clip(grey, 0, 255).astype(np.uint8))
    return found


def encoded(pixels: np.ndarray) -> bytes:
    """Return a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_task(folder: Path, kind: str, seed: int, *, reals: bool = True, swapped: bool = False) -> None:
    """Write a task's folder in the reference layout."""
    for number, (split, count) in enumerate(COUNTS.items()):
        for label in ((0, 1) if reals else (1,)):
            place = folder / split / ("0_real", "1_fake")[label != swapped]
            place.mkdir(parents=True)
            for each, pixels in enumerate(pictures(kind if label else "real", 10 * seed + number, count)):
                (place / f"{each:04d}.png").write_bytes(encoded(pixels))


def write_project(folder: Path, parameters: dict[str, Any]) -> None:
    """Write a project with the repository's configuration, and `parameters`."""
    for part in ("conf", "pyproject.toml", ".telemetry"):
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
    (folder / "src").mkdir()
    (folder / "conf/base/parameters_sequences.yml").unlink()
    (folder / "conf/local").mkdir(exist_ok=True)
    (folder / "conf/local/parameters.yml").write_text(yaml.safe_dump(parameters))


@dataclass
class Command:
    """A command of ours in a fork; `kill` names a phase, and the seconds after its beginning."""

    project: Path
    arguments: list[str]
    kill: tuple[str, float] | None = None
    pid: int = 0

    def start(self) -> Command:
        """Fork."""
        self.pid = os.fork()
        if self.pid == 0:
            self._become()
        return self

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def run(self) -> int:
        """Start and wait."""
        return self.start().wait()

    def _become(self) -> None:
        code = 1
        try:
            os.chdir(self.project)
            log = os.open("log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.sched_getaffinity = lambda process: {0}  # Tiny tasks are ingested without further processes.
            self._instrument()
            sys.argv = ["kedro", *self.arguments]
            kedro()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _instrument(self) -> None:
        for phase in PHASES:
            owner: Any = Registry if hasattr(Registry, phase) else watch
            setattr(owner, phase, self._timed(phase, getattr(owner, phase)))

    def _timed(self, phase: str, function: Callable) -> Callable:
        def called(*arguments: Any, **options: Any) -> Any:
            if self.kill is not None and self.kill[0] == phase:
                threading.Timer(self.kill[1], os.kill, [os.getpid(), signal.SIGKILL]).start()
            begun = time.monotonic()
            found = function(*arguments, **options)
            with (self.project / "phases.txt").open("a") as file:
                file.write(f"{phase} {time.monotonic() - begun}\n")
            return found

        return called


def phase_seconds(project: Path) -> dict[str, float]:
    """Return the mean duration of each phase so far."""
    times: dict[str, list[float]] = {}
    for line in (project / "phases.txt").read_text().splitlines():
        phase, _, seconds = line.partition(" ")
        times.setdefault(phase, []).append(float(seconds))
    return {phase: float(np.mean(found)) for phase, found in times.items()}


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        return made.getsockname()[1]


def post(port: int, picture: bytes, seconds: float = 30.0) -> int:
    """Send one picture; return the status, 0 without an answer."""
    body = (b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n' + picture
            + b"\r\n--b--\r\n")
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/score", body,
                                     {"Content-Type": "multipart/form-data; boundary=b"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def poll(port: int, out: Path, every: float, stop: Callable[[], bool]) -> None:
    """Send different pictures, and write a line for each: SHA-256, time of the answer, status, seconds."""
    rng = np.random.default_rng(time.time_ns())
    with out.open("a") as file:
        while not stop():
            picture = encoded(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
            begun = time.time()
            status = post(port, picture)
            ended = time.time()
            file.write(f"{hashlib.sha256(picture).hexdigest()} {ended} {status} {ended - begun}\n")
            file.flush()
            time.sleep(every)


def polled(out: Path) -> list[tuple[str, float, int, float]]:
    """Return the lines of `poll`."""
    rows = [line.split() for line in out.read_text().splitlines()] if out.exists() else []
    return [(row[0], float(row[1]), int(row[2]), float(row[3])) for row in rows if len(row) == 4]


def wait_ready(port: int, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until the service answers."""
    for _ in range(6000):
        if post(port, encoded(pictures("real", 0, 1)[0])) == 200:
            return
        if not alive():
            break
        time.sleep(0.02)
    raise SystemExit("the service does not start")


def kill_services(project: Path, seed: int, stopped: Path) -> None:
    """Start, poll and kill services with a log of their own, until `stopped` exists; write when each was killed."""
    draw = random.Random(seed)
    while not stopped.exists():
        port, out = free_port(), project / "polled.txt"
        service = Command(project, ["serve", "--port", str(port)]).start()
        wait_ready(port)
        end = time.monotonic() + LAST + draw.uniform(0.5, 3)
        poll(port, out, 0.01, lambda end=end: time.monotonic() > end)
        os.kill(service.pid, signal.SIGKILL)
        killed = time.time()
        service.wait()
        with (project / "kills.txt").open("a") as file:
            file.write(f"{killed}\n")


def in_fork(work: Callable[[], Any]) -> Any:
    """Return what `work` returns in a fork."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(writing, "wb") as file:
                pickle.dump(work(), file)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)
