"""Nodes of the promotion pipeline: both detectors score the same pictures, and the gate judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    from fakemedia.context.context import Context
    from fakemedia.registry.client import Registry
    from fakemedia.registry.gate import Judged
    from fakemedia.registry.gate_config import GateConfig
    from fakemedia.registry.versions import Version
    from fakemedia.store.pixels import PixelStore


@dataclass(frozen=True)
class Pair:
    """The two versions that are compared."""

    registry: Registry
    champion: Version
    candidate: Version

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those that either knows."""
        return tuple(dict.fromkeys((*self.champion.facts.tasks, *self.candidate.facts.tasks)))


@dataclass(frozen=True)
class Suite:
    """The test pictures of the gate, by task."""

    stores: dict[str, PixelStore]
    features: Callable[[str], Path]
    """Returns the folder that keeps the features of a task's pictures."""


def choose_versions(*, context: Context, number_or_alias: str = "candidate") -> Pair:
    """Return the champion and the version to compare it with; UserError without either, or if they are the same."""
    from fakemedia.registry.versions import CANDIDATE, CHAMPION, find_version, list_versions

    registry = context.open_registry()
    champion = find_version(registry, CHAMPION)
    if number_or_alias == CANDIDATE and not any(CANDIDATE in version.aliases for version in list_versions(registry)):
        raise UserError("There is no candidate", where=registry.where, expected="a version registered after the "
                        "champion", do="kedro update --task NAME --data FOLDER, or kedro register SEQUENCE/LABEL")
    candidate = find_version(registry, number_or_alias)
    if candidate.number == champion.number:
        raise UserError(f"Version {candidate.number} is the champion itself", where="kedro gate",
                        expected="another version")
    return Pair(registry, champion, candidate)


def gather_test_pictures(pair: Pair, *, context: Context, folders: Sequence[Path] = ()) -> Suite:
    """Return the test pictures of every task that either version knows.

    Those of a task that one of `folders` is named after come from there, the others from the project's pixel stores.
    """
    from fakemedia.catalog.version_stores import VersionStores, ancestors
    from fakemedia.learning.one_step import folder_stores
    from fakemedia.registry.versions import list_versions

    versions = list_versions(pair.registry)
    project = VersionStores(context, [*ancestors(pair.candidate, versions), *ancestors(pair.champion, versions)])
    from_folders = {folder.resolve().name: folder_stores(folder, context.path("step_stores"))["test"]
                    for folder in folders}
    from_project = project.stores([task for task in pair.tasks if task not in from_folders], "test")
    return Suite({task: (from_folders | from_project)[task] for task in pair.tasks}, project.features)


def score_version(pair: Pair, suite: Suite, *, context: Context, role: str) -> Judged:
    """Return the scores of the `champion` or the `candidate` on the test pictures, its files verified.

    On as many crops of a picture as it is scored on where it serves.
    """
    from fakemedia.learning.sequence import score_checkpoint
    from fakemedia.registry.gate import Judged
    from fakemedia.registry.versions import open_version
    from fakemedia.scoring.checkpoint_model import open_checkpoint

    version: Version = getattr(pair, role)
    folder = open_version(pair.registry, version)
    checkpoint, facts = open_checkpoint(folder)
    crops = facts.usual_crops
    scores = score_checkpoint(checkpoint, suite.stores, runtime=context.runtime, features=suite.features,
                              several=crops > 1)
    return Judged(number=version.number, content=version.content, origin=version.facts.origin, scores=scores,
                  tasks=version.facts.tasks, unlearned=tuple(checkpoint.meta.get("unlearned", ())), crops=crops,
                  calibration=facts.calibration and facts.calibration.for_crops(crops))


def score_cases(pair: Pair, gate: GateConfig, *, context: Context) -> list[dict[str, str]]:
    """Return the outcome of each regression case."""
    from fakemedia.registry.gate_cases import called_fake, judge_cases, read_cases
    from fakemedia.registry.versions import open_version
    from fakemedia.scoring.open_model import open_model

    folder = context.root / gate.cases
    cases = read_cases(folder)
    if cases.empty:
        return []
    called = [called_fake(open_model(open_version(pair.registry, version), lambda: context.runtime), folder, cases)
              for version in (pair.champion, pair.candidate)]
    return judge_cases(cases, *called)


def judge_candidate(champion: Judged, candidate: Judged, cases: list[dict[str, str]],
                    gate: GateConfig) -> dict[str, Any]:
    """Return the report of the gate."""
    from fakemedia.registry.gate import judge

    return judge(champion, candidate, gate, cases)


def write_gate_report(report: dict[str, Any], *, context: Context) -> Path:
    """Write the report as JSON, which `kedro promote --gate` reads, and as a page beside it; return the former.

    Both go to the storage too, if there is one.
    """
    from fakemedia.artefacts.files import write_file
    from fakemedia.reporting.gate_page import gate_page

    versions = report["versions"]
    path = context.path("gate_reports") / f"{versions['candidate']}-against-{versions['champion']}.json"
    write_file(path, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_file(path.with_suffix(".html"), gate_page(report).encode())
    if context.storage is not None:
        context.storage.upload_files([path, path.with_suffix(".html")], of=path)
    return path


def run_gate(context: Context, number_or_alias: str = "candidate",
             folders: Sequence[Path] = ()) -> tuple[dict[str, Any], Path]:
    """Run all nodes of the gate; return the report and the path of its JSON file."""
    pair = choose_versions(context=context, number_or_alias=number_or_alias)
    suite = gather_test_pictures(pair, context=context, folders=folders)
    champion, candidate = (score_version(pair, suite, context=context, role=role)
                           for role in ("champion", "candidate"))
    cases = score_cases(pair, context.gate, context=context)
    report = judge_candidate(champion, candidate, cases, context.gate)
    return report, write_gate_report(report, context=context)
