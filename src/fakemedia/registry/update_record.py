"""The outcome of each folder of a new task: an append-only record in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fakemedia.core.hashing import fingerprint
from fakemedia.registry.client import Registry
from fakemedia.registry.promotion import PROMOTION, history
from fakemedia.registry.versions import Version, list_versions
from fakemedia.sources.walking import walk

EXPERIMENT = "updates"
PROMOTED, REFUSED = "promoted", "refused"
"""Outcomes beside those of the gate that do not pass; REFUSED: its pictures cannot be learned."""
MAX_CHARACTERS = 4000
"""Characters of a reason, MLflow's limit for a tag being 8,000."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a folder."""

    task: str
    files: str
    """`files_fingerprint` of the folder."""
    outcome: str
    """PROMOTED, REFUSED, or the gate's `fail` or `too few to tell`."""
    version: int | None
    """The candidate; None: none was made."""
    reason: str
    """Why, if it was not promoted."""


def files_fingerprint(folder: Path) -> str:
    """Return a hash of the paths, sizes and times of the files in `folder`; UserError if it cannot be listed."""
    entries = []
    for path in walk(folder):
        status = Path(path).lstat()
        entries.append([path.removeprefix(str(folder)), status.st_size, status.st_mtime_ns])
    return fingerprint(entries)


def record_outcome(registry: Registry, outcome: Outcome) -> None:
    """Add `outcome` to the record."""
    registry.record(EXPERIMENT, f"{outcome.task}: {outcome.outcome}", tags={
        "task": outcome.task, "files": outcome.files, "outcome": outcome.outcome,
        "version": "" if outcome.version is None else str(outcome.version), "reason": outcome.reason[:MAX_CHARACTERS]})


def outcomes(registry: Registry) -> list[Outcome]:
    """Return all recorded outcomes, the oldest first."""
    all_tags = (record.tags for record in registry.records(EXPERIMENT))
    return [Outcome(task=tags["task"], files=tags["files"], outcome=tags["outcome"], reason=tags["reason"],
                    version=int(tags["version"]) if tags["version"] else None) for tags in all_tags]


def learned_version(registry: Registry, task: str, content: str, champion: Version) -> Version | None:
    """Return the newest version that has learned the training pictures `content` of `task`; None if there is none.

    It was learned from `champion`, is it, or has been promoted before.
    """
    promoted = was_promoted(registry)
    matching = [version for version in list_versions(registry) if version.facts.data.get(f"{task} train") == content
                and version.facts.tasks[-1:] == (task,)
                and (version.facts.parent == champion.number or version.number in promoted)]
    return matching[-1] if matching else None


def was_promoted(registry: Registry) -> Sequence[int]:
    """Return the numbers of the versions that were ever promoted."""
    return [change.after for change in history(registry) if change.kind == PROMOTION and change.made]
