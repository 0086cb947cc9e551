"""Unattended loops with known truth: what `lifecycle.py --loops N` does.

A project with a tiny frozen network serves a ridge head (`kedro serve`, a real process, polled throughout). In each
loop something arrives that is drawn at random: a new generator, with or without real pictures, or bad data, or a
version whose files are changed, or two commands at once. `kedro watch --once` takes it, is killed with SIGKILL in up to
three random phases, and is started again until it ends. Then the champion is judged on pictures that nothing else has
seen. A second service, with a log of its own, is killed again and again while it answers. Commands are forks of this
process, which has imported the libraries, and has exported one detector; it opens the registry in forks alone, since a
connection of SQLite must not be carried through one.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", DO_NOT_TRACK="1", KEDRO_DISABLE_TELEMETRY="1")

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (here and below: imported before the forks)
import torch
from loop_parts import (
    LAST,
    PHASES,
    ROOT,
    Command,
    free_port,
    in_fork,
    kill_services,
    phase_seconds,
    pictures,
    poll,
    polled,
    wait_ready,
    write_project,
    write_task,
)
from scipy.stats import binomtest

from fakemedia.registry import promotion
from fakemedia.registry.client import RUNNING, Registry, open_registry
from fakemedia.registry.promotion import Change, history
from fakemedia.registry.update_record import Outcome, outcomes
from fakemedia.registry.versions import CHAMPION, Version, find_version, list_versions, open_version
from fakemedia.runtime.device import Runtime
from fakemedia.scoring.onnx_export import export
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.scores import score_files
from fakemedia.serving.log import read_log

TRUTH = 400
"""Pictures of each class of each task that the champion is judged on."""
ALLOWED = 8.0
"""Points that an old task may lose: `gate.delta_task` of the project, whose test splits are small."""
GOOD = ("generator", "fakes only")
BAD = ("damaged pictures", "swapped labels", "empty folder", "no pictures", "duplicates of test pictures",
       "random labels", "known task", "changed candidate", "changed champion", "two at once")
NEVER = ("damaged pictures", "swapped labels", "random labels", "no pictures", "empty folder", "known task",
         "changed candidate")
"""Of these no promotion is good, whatever its accuracy."""
PARAMETERS = {
    "sequence": "tiny",
    "runtime": {"accelerator": "cpu", "precision": "float32"},
    "sequences": {"tiny": {
        "collection": "tiny", "tasks": ["g005", "g006"],
        "network": {"name": "convnet", "width": 8, "depth": 3, "taps": "blocks"},
        "training": {"epochs": 1, "batch_size": 32, "lr": 0.01, "crop": 24}, "methods": {"ridge": {"tune": "head"}}}},
    "collections": {"tiny": {"source": {"name": "folder", "root": "data/01_raw/tiny"}}},
    "gate": {"delta": 6.0, "delta_task": ALLOWED, "false_alarms": 25.0},
    "serving": {"poll_seconds": 0.5},
}


@dataclass(frozen=True, kw_only=True)
class State:
    """What the registry holds."""

    champion: Version
    """Its files were verified."""
    versions: list[Version]
    changes: list[Change]
    """Those that were made."""
    outcomes: list[Outcome]
    unfinished: bool
    """Whether a change is left open."""


@dataclass
class Loops:
    """The benchmark."""

    project: Path
    draw: random.Random
    counts: Counter = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    accuracies: dict[int, dict[str, float]] = field(default_factory=dict)

    def begin(self) -> None:
        """Learn two tasks, register and promote."""
        for seed, task in enumerate(("g005", "g006")):
            write_task(self.project / "data/01_raw/tiny" / task, task, seed)
        for arguments in (["run", "--tags", "ingestion"], ["run", "--tags", "ridge"], ["register", "tiny/ridge"],
                          ["promote", "--by", "benchmark"]):
            if Command(self.project, arguments).run():
                raise SystemExit(f"kedro {' '.join(arguments)}: {(self.project / 'log.txt').read_text()[-3000:]}")
            if arguments[-1] == "ridge":
                export(self.project / "data/06_models/tiny/ridge/seed0/02_g006", self.project / "warm.onnx")

    def _registry(self) -> Registry:
        return open_registry("", self.project / "data/09_registry")

    def state(self) -> State:
        """Return what the registry holds now."""
        def read() -> State:
            registry = self._registry()
            champion = find_version(registry, CHAMPION)
            open_version(registry, champion)
            return State(champion=champion, versions=list_versions(registry),
                         changes=[each for each in history(registry) if each.made], outcomes=outcomes(registry),
                         unfinished=any(each.status == RUNNING for each in registry.records(promotion.EXPERIMENT)))

        return in_fork(read)

    @property
    def inbox(self) -> Path:
        """The folder that is watched."""
        return self.project / "inbox"

    def truth(self, version: Version, kinds: tuple[str, ...]) -> dict[str, float]:
        """Return the balanced accuracy of a version, percent, on new pictures of each of `kinds`."""
        known = self.accuracies.setdefault(version.number, {})
        known |= in_fork(lambda: self._accuracies(version, [kind for kind in kinds if kind not in known]))
        return {kind: known[kind] for kind in kinds}

    def _accuracies(self, version: Version, kinds: list[str]) -> dict[str, float]:
        model = open_model(open_version(self._registry(), version), Runtime)
        assert model.facts.calibration is not None
        rule = model.facts.calibration.for_crops(model.facts.usual_crops)

        def called_fake(kind: str) -> float:
            scores = score_files(model, pictures(kind, 999, TRUTH), progress=False)
            return float(rule.is_fake(scores["logit"].to_numpy()).mean())

        reals = called_fake("real")
        return {kind: 50 * (1 - reals + called_fake(kind)) for kind in kinds}

    def arrive(self, what: str, number: int, known: tuple[str, ...]) -> str:
        """Put something into the inbox; return the name of its task."""
        name = f"g{100 + number}"
        folder, seed = self.inbox / name, 100 + number
        if what == "known task":
            name = self.draw.choice(known)
            folder = self.inbox / name
        if what == "empty folder":
            (folder / "train/1_fake").mkdir(parents=True)
            return name
        write_task(folder, name, seed, reals=what != "fakes only", swapped=what == "swapped labels")
        files = sorted(folder.rglob("*.png"))
        if what == "damaged pictures":
            for path in self.draw.sample(files, 5):
                data = path.read_bytes()
                path.write_bytes(self.draw.choice([b"", data[:len(data) // 2], b"\x89PNG" + os.urandom(200)]))
        elif what == "no pictures":
            for path in files:
                path.write_bytes(b"this is no picture " + os.urandom(8))
        elif what == "random labels":
            contents = [path.read_bytes() for path in files]
            self.draw.shuffle(contents)
            for path, content in zip(files, contents, strict=True):
                path.write_bytes(content)
        elif what == "duplicates of test pictures":
            real = sorted((self.project / "data/01_raw/tiny/g005/test/0_real").iterdir())
            for path, copied in zip(sorted((folder / "train/1_fake").iterdir()), real, strict=False):
                path.write_bytes(copied.read_bytes())
        return name

    def watch(self) -> None:
        """Take what is in the inbox, killed up to three times."""
        for _ in range(self.draw.choice((0, 1, 1, 2, 3))):
            phase = self.draw.choice(PHASES)
            seconds = self.draw.uniform(0, 1.2 * phase_seconds(self.project).get(phase, 0.5))
            code = Command(self.project, ["watch", "inbox", "--once"], (phase, seconds)).run()
            self.counts["kills"] += code == -signal.SIGKILL
            if code == -signal.SIGKILL:
                self.counts[f"killed in {phase}"] += 1
        code = Command(self.project, ["watch", "inbox", "--once"]).run()
        self.counts[f"exit status {code}"] += 1
        if code not in (0, 3, 4):
            self.bad.append(f"watch ended with {code}: {(self.project / 'log.txt').read_text()[-1500:]}")

    def loop(self, number: int) -> None:
        """Do one loop and check what it left."""
        what = self.draw.choice(GOOD) if self.draw.random() < 0.4 else self.draw.choice(BAD)
        before = self.state()
        name = self.arrive(what, number, before.champion.facts.tasks)
        if what in ("changed candidate", "changed champion"):
            self._change_files(what, name, before.champion)
        elif what == "two at once":
            pair = [Command(self.project, ["watch", "inbox", "--once"]).start() for _ in range(2)]
            codes = [each.wait() for each in pair]
            self.counts[f"two at once ended with {sorted(codes)}"] += 1
        self.watch()
        after = self.state()
        self._check(what, name, before, after)
        shutil.rmtree(self.inbox / name)
        if after.champion.number != before.champion.number and (len(after.champion.facts.tasks) > 4
                                                                or self.draw.random() < 0.5):
            self._roll_back(before.champion)

    def _change_files(self, what: str, name: str, version: Version) -> None:
        """Change a file of a version; nothing may be learned from it, promoted or served. Then put it back."""
        if what == "changed candidate":
            Command(self.project, ["update", "--task", name, "--data", f"inbox/{name}"]).run()
            version = self.state().versions[-1]
            commands = [["gate", str(version.number)],
                        ["promote", str(version.number), "--by", "x", "--force", "trial"]]
            shutil.rmtree(self.inbox / name)  # It stays a candidate: the next loops do not promote it.
            self.inbox.joinpath(name).mkdir()
        else:
            commands = [["update", "--task", name, "--data", f"inbox/{name}"], ["watch", "inbox", "--once"]]
        folder = self.project / "data/09_registry/files" / version.run / "artifacts"
        path = folder / self.draw.choice(sorted(version.files))
        held = path.read_bytes()
        change = self.draw.choice(("flip", "cut", "remove", "add"))
        if change == "flip":
            place = self.draw.randrange(len(held))
            path.write_bytes(held[:place] + bytes([held[place] ^ 1]) + held[place + 1:])
        elif change == "cut":
            path.write_bytes(held[:len(held) // 2])
        elif change == "remove":
            path.unlink()
        else:
            (folder / "added").write_bytes(b"x")
        for arguments in commands:
            code = Command(self.project, arguments).run()
            self.counts["commands on changed files"] += 1
            if code != 1:
                self.bad.append(f"{what}, {path.name} {change}: kedro {arguments[0]} ended with {code}")
        (folder / "added").unlink(missing_ok=True)
        path.write_bytes(held)

    def _check(self, what: str, name: str, before: State, after: State) -> None:
        told, champion = f"{what} ({name})", after.champion
        made = after.changes[len(before.changes):]
        found = [each for each in after.outcomes if each.task == name]
        self.counts[f"{what}: {found[-1].outcome if found else 'nothing'}"] += 1
        if len(found) != 1 and what not in ("known task", "changed candidate"):
            self.bad.append(f"{told}: {len(found)} outcomes are recorded")
        if [each.after for each in made] != [champion.number] * (champion.number != before.champion.number):
            self.bad.append(f"{told}: the champion is {champion.number}, the record says {made}")
        if after.unfinished:
            self.bad.append(f"{told}: a change is left open")
        if champion.number == before.champion.number:
            return
        self.counts["promotions"] += 1
        kinds = (*before.champion.facts.tasks, name)
        old, new = self.truth(before.champion, kinds), self.truth(champion, kinds)
        losses = {kind: round(old[kind] - new[kind], 1) for kind in kinds}
        if (not all(each.gate_sha256 for each in made) or max(losses.values()) > ALLOWED or losses[name] >= 0
                or what in NEVER):
            self.counts["bad promotions"] += 1
            self.bad.append(f"{told}: version {champion.number} was promoted; points lost {losses}")

    def _roll_back(self, before: Version) -> None:
        code, now = Command(self.project, ["rollback", "--by", "benchmark"]).run(), self.state().champion.number
        self.counts["rollbacks"] += 1
        if code or now != before.number:
            self.bad.append(f"rollback ended with {code}, the champion is {now}")


def check_log(log: Path, lines: list[tuple[str, float, int, float]], kills: list[float]) -> tuple[int, int, int]:
    """Return how many scored pictures are not in the log although their answer was LAST seconds before a kill, how
    many of the last second are not, and how many there are."""
    held = set(read_log(log)["sha256"])
    scored = [(sha256, at) for sha256, at, status, _ in lines if status == 200]
    missing = [at for sha256, at in scored if sha256 not in held]
    late = [at for at in missing if any(0 <= kill - at < LAST for kill in kills)]
    return len(missing) - len(late), len(late), len(scored)


def interval(count: int, trials: int) -> str:
    """Return a share with its 95 % interval (Clopper and Pearson)."""
    if not trials:
        return "0 of 0"
    found = binomtest(count, trials).proportion_ci()
    return f"{count} of {trials} [{100 * found.low:.2f}, {100 * found.high:.2f}] %"


def run(loops: int, seed: int, work: Path) -> int:
    """Do it all and print; return 1 if anything was wrong."""
    torch.set_num_threads(1)  # A pool of threads does not survive a fork.
    project, shadow, stopped = work / "project", work / "shadow", work / "stopped"
    for folder in (project, shadow):
        folder.mkdir()
    write_project(project, PARAMETERS)
    found = Loops(project, random.Random(seed))
    found.inbox.mkdir()
    found.begin()
    write_project(shadow, {**PARAMETERS, "registry": {"folder": str(project / "data/09_registry")},
                           "serving": {"poll_seconds": 0.5, "log": "scores.db"}})
    port = free_port()
    with (work / "serve.txt").open("w") as log:
        service = subprocess.Popen([sys.executable, "-m", "kedro", "serve", "--port", str(port)], cwd=project,
                                   stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    wait_ready(port, lambda: service.poll() is None)
    workers = [_forked(lambda: poll(port, work / "polled.txt", 0.1, stopped.exists)),
               _forked(lambda: kill_services(shadow, seed, stopped))]
    begun = time.monotonic()
    try:
        for number in range(loops):
            found.loop(number)
            print(f"{number + 1:4d}  {time.monotonic() - begun:6.0f} s  {len(found.bad)} wrong", file=sys.stderr,
                  flush=True)
        seconds = time.monotonic() - begun
    finally:
        stopped.touch()
        for pid in workers:
            os.waitpid(pid, 0)
        alive = service.poll() is None
        service.send_signal(signal.SIGTERM)
        ended = service.wait()
    main = polled(work / "polled.txt")
    down = [line for line in main if line[2] != 200]
    lost = check_log(project / "data/09_registry/scores.db", main, [])
    kills = [float(line) for line in (shadow / "kills.txt").read_text().split()]
    killed = check_log(shadow / "scores.db", polled(shadow / "polled.txt"), kills)
    print(f"{loops} loops in {seconds:.0f} s; seed {seed}")
    for name, count in sorted(found.counts.items()):
        print(f"  {name}: {count}")
    print(f"bad promotions: {interval(found.counts['bad promotions'], loops)} loops")
    print(f"service: alive {alive}, ended with {ended}; requests without an answer: {interval(len(down), len(main))}; "
          f"slowest {max(line[3] for line in main):.2f} s")
    print(f"log of the service: {lost[0]} rows of {lost[2]} missing")
    print(f"log of a service that was killed {len(kills)} times: {killed[0]} rows of {killed[2]} missing, and "
          f"{killed[1]} of the last {LAST:g} s before a kill")
    for each in found.bad:
        print(f"WRONG: {each}")
    return int(bool(found.bad or down or lost[0] or killed[0] or not alive))


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid
