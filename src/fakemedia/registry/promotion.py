"""Promotion and rollback: which version serves, and a record of every change that is never rewritten.

A change moves the alias `champion` in one step: that is when it takes effect. The record is created before it and
completed after it, so an interrupted change is completed, or marked as not made, by the next one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from fakemedia.artefacts.manifest import file_sha256
from fakemedia.core.errors import UserError
from fakemedia.registry.client import FAILED, FINISHED, RUNNING, Record, Registry
from fakemedia.registry.versions import CANDIDATE, CHAMPION, PREVIOUS, Version, find_version, open_version

EXPERIMENT = "promotions"
PROMOTION, ROLLBACK = "promotion", "rollback"
PASS = "pass"
"""The outcome of a gate that allows a promotion."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What promotion reads of a gate's report, a JSON file; other keys are kept with it."""

    outcome: str
    """`pass`, `fail` or `too few to tell`."""
    candidate: str
    """`Version.content` of the candidate that was judged."""
    champion: str | None
    """`Version.content` of the champion that it was compared with; null: there was none."""
    loosened: tuple[str, ...] = ()
    """Limits that were wider than the defaults."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A promotion or a rollback, as recorded."""

    kind: str
    """PROMOTION or ROLLBACK."""
    when: datetime
    """In UTC."""
    by: str
    before: int | None
    """The champion before it; None: there was none."""
    after: int
    """The champion since."""
    reason: str
    """Why it was rolled back, or promoted without a gate or through a loosened one; empty for one through the gate."""
    gate_sha256: str
    """SHA-256 of the gate's report; empty without one."""
    made: bool
    """Whether it took effect: False for one that was interrupted before."""
    run: str
    """The run that records it; its files hold the gate's report."""


def promote(registry: Registry, version: Version, *, by: str, gate: Path | None = None,
            forced: str | None = None) -> Change:
    """Make `version` the champion and the former one `previous`; record who, when, from, to and the gate's report.

    The first champion needs no gate. UserError without a report that passes for exactly this version against exactly
    the current champion, unless `forced` says why; for a version whose files were changed; if it is the champion
    already; and if another command changes the registry. Nothing is then changed.
    """
    _check_person(by)
    open_version(registry, version)
    with registry.changing():
        settle(registry)
        aliases = registry.aliases()
        before = aliases.get(CHAMPION)
        if before == version.number:
            raise UserError(f"Version {version.number} is the champion already", where=registry.where)
        loosened: tuple[str, ...] = ()
        if gate is not None:
            report = read_gate(gate)
            _check_gate(report, gate, version, None if before is None else find_version(registry, before))
            loosened = report.loosened
        elif before is not None and not forced:
            raise UserError("A promotion needs the report of a gate that passed", where="kedro promote",
                            expected="--gate REPORT", do="run `kedro gate`, or give a reason with --force REASON")
        return _change(registry, PROMOTION, by=by, before=before, after=version.number, gate=gate,
                       reason=forced or ("" if gate else "the first champion")
                       or (f"loosened gate: {', '.join(loosened)}" if loosened else ""))


def roll_back(registry: Registry, *, by: str, reason: str = "") -> Change:
    """Make the version `previous` the champion again and return the record.

    Before that, its files are verified. UserError if there is no earlier champion.
    """
    _check_person(by)
    with registry.changing():
        settle(registry)
        aliases = registry.aliases()
        if CHAMPION not in aliases:
            find_version(registry, CHAMPION)
        if PREVIOUS not in aliases:
            raise UserError("There is no earlier champion to go back to", where=registry.where,
                            expected="an earlier promotion", do="promote another version: kedro promote VERSION --by "
                            "YOU")
        open_version(registry, find_version(registry, PREVIOUS))
        return _change(registry, ROLLBACK, by=by, before=aliases[CHAMPION], after=aliases[PREVIOUS], gate=None,
                       reason=reason)


def history(registry: Registry) -> list[Change]:
    """Return every promotion and rollback, the first one first."""
    return [_read(record) for record in registry.records(EXPERIMENT)]


def settle(registry: Registry) -> None:
    """Complete a change that was interrupted after it took effect; mark one that was interrupted before as not made.

    UserError for a record of something else, before anything is changed.
    """
    for record, change in [(record, _read(record)) for record in registry.records(EXPERIMENT)]:
        if record.status == RUNNING:
            if registry.aliases().get(CHAMPION) == change.after:
                _complete(registry, change)
            else:
                registry.finish(record.run, FAILED)


def read_gate(path: Path) -> Gate:
    """Return what promotion needs of a gate's report; UserError if the file is not one."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return Gate(outcome=str(report["outcome"]), candidate=str(report["candidate"]), champion=report["champion"],
                    loosened=tuple(map(str, report.get("loosened", ()))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"This is no report of a gate ({error!r})", where=path, expected="the JSON file of kedro gate",
                        do="run kedro gate again") from None


def _check_gate(gate: Gate, path: Path, version: Version, champion: Version | None) -> None:
    if gate.candidate != version.content:
        raise UserError(f"The gate judged another detector than version {version.number}", where=path,
                        expected=f"a report on the detector {version.content}", do="run kedro gate for this version")
    if gate.champion != (champion.content if champion else None):
        raise UserError("The gate compared with another champion than the current one", where=path,
                        expected=f"a comparison with version {champion.number}" if champion else "no champion",
                        do="run kedro gate again")
    if gate.outcome != PASS:
        raise UserError(f"The gate's outcome is {gate.outcome!r}", where=path, expected=repr(PASS),
                        do="promote another version, or give a reason with --force REASON instead of --gate")


def _check_person(by: str) -> None:
    if not by.strip():
        raise UserError("The record needs a name", where="--by", expected="who promotes or rolls back")


def _change(registry: Registry, kind: str, *, by: str, before: int | None, after: int, gate: Path | None,
            reason: str) -> Change:
    tags = {"kind": kind, "by": by, "from": json.dumps(before), "to": json.dumps(after), "reason": reason,
            "gate_sha256": file_sha256(gate) if gate else ""}
    run = registry.record(EXPERIMENT, f"{kind} to {after}", tags=tags, status=RUNNING)
    if gate is not None:
        with TemporaryDirectory() as folder:
            shutil.copyfile(gate, Path(folder) / "gate.json")
            registry.keep_files(run, Path(folder))
    registry.set_alias(CHAMPION, after)
    change = next(change for change in history(registry) if change.run == run)
    _complete(registry, change)
    return next(change for change in history(registry) if change.run == run)


def _complete(registry: Registry, change: Change) -> None:
    """Set the other aliases after the champion has changed, and close the record."""
    aliases = registry.aliases()
    earlier = change.before if change.kind == PROMOTION else _champion_before(registry, change)
    if aliases.get(PREVIOUS) != earlier:
        registry.set_alias(PREVIOUS, earlier)
    if aliases.get(CANDIDATE) == change.after:
        registry.set_alias(CANDIDATE, None)
    registry.finish(change.run, FINISHED)


def _champion_before(registry: Registry, rollback: Change) -> int | None:
    """Return the champion before the version that `rollback` went back to, when that was promoted last."""
    promoted = [change.before for change in history(registry)
                if change.made and change.kind == PROMOTION and change.after == rollback.after]
    return promoted[-1] if promoted else None


def _read(record: Record) -> Change:
    tags: Mapping[str, str] = record.tags
    try:
        return Change(kind=tags["kind"], when=record.started, by=tags["by"], before=json.loads(tags["from"]),
                      after=json.loads(tags["to"]), reason=tags["reason"], gate_sha256=tags["gate_sha256"],
                      made=record.status == FINISHED, run=record.run)
    except (KeyError, ValueError) as error:
        raise UserError(f"A promotion was not recorded by this project, or its tags were changed ({error!r})",
                        where=f"experiment {EXPERIMENT}, run {record.run}",
                        expected="runs of kedro promote and rollback",
                        do="move the run to another experiment of MLflow") from None
