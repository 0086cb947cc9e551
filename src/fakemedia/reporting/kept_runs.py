"""Results of finished runs, each kept under an id, so that a later run does not replace them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from fakemedia.artefacts.files import moved, remove_leftovers, scratch_folder, write_file, writing
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.hashing import fingerprint

FACTS = "run.json"
METRICS = "metrics.csv"
REPORT = "report.html"
KEPT_FILES = (REPORT, "headline.txt", METRICS, "calibration.csv", "audit/audit.html")
"""The files of a report that are kept, beside its tables as CSV."""
TABLE = "runs.csv"
LINK = re.compile(r'<a href="([^"#:]+)">(.*?)</a>')
"""A link of a page to a file beside it, and its text."""
RUN = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{6}")


@dataclass(frozen=True, kw_only=True)
class KeptRun:
    """The results of a run: one sequence with all its labels and seeds."""

    folder: Path
    sequence: str
    facts: Mapping[str, Any]
    """The content of the file FACTS: sequence, finished, content, configuration, commit, machine, versions."""

    @property
    def id(self) -> str:
        """Time, sequence and the first digits of its content's hash."""
        return self.folder.name

    def metrics(self) -> pd.DataFrame:
        """Return one row for each label and seed, as `Tables.runs`."""
        return _read(self.folder / METRICS)

    def summary(self) -> pd.DataFrame:
        """Return one row for each label and metric, as `Tables.summary`."""
        return self.table("summary")

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of the report, such as `matrices`."""
        return _read(self.folder / "tables" / f"{name}.csv")


def keep_run(report: Path, runs: Path, *, sequence: str, configuration: Mapping[str, Any],
             facts: Mapping[str, Any]) -> str:
    """Copy the results in the folder `report` to a new folder in `runs`, and update the table of all runs.

    Returns the id of the run; a run with the content and configuration of one that is kept has that one's id.
    UserError if the disk is full: nothing is half-written.
    """
    configuration = json.loads(json.dumps(configuration, default=str))
    files = [name for name in KEPT_FILES if (report / name).is_file()]
    files += sorted(path.relative_to(report).as_posix() for path in (report / "tables").glob("*.csv"))
    content = fingerprint({"configuration": configuration, "metrics": (report / METRICS).read_text(encoding="utf-8")})
    existing, _ = kept_runs(runs)
    duplicates = [run.id for run in existing if run.facts["content"] == content]
    if duplicates:
        return duplicates[0]
    now = datetime.now().astimezone()
    target = runs / f"{now:%Y%m%d-%H%M%S}-{sequence}-{content[:6]}"
    with writing(target), scratch_folder(target) as building:
        for name in files:
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(report / name, building / name)
        if REPORT in files:
            page = (report / REPORT).read_text(encoding="utf-8")
            (building / REPORT).write_text(_unlinked(page, building), encoding="utf-8")
        described = {"sequence": sequence, "finished": now.isoformat(timespec="seconds"), "content": content,
                     "configuration": configuration, **facts}
        (building / FACTS).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        moved(building, target)
    write_table(runs)
    return target.name


def _unlinked(page: str, folder: Path) -> str:
    """Return `page` with the text alone where it links to a file that `folder` does not have."""
    return LINK.sub(lambda match: match[0] if (folder / match[1]).exists() else match[2], page)


def write_table(runs: Path) -> None:
    """Write the metrics of all runs in `runs` as one CSV file beside it: one row for each run, label and seed."""
    tables = [run.metrics().assign(run=run.id, finished=run.facts["finished"]) for run in kept_runs(runs)[0]]
    if tables:
        table = pd.concat(tables, ignore_index=True)
        leading = ["run", "finished"]
        table = table[[*leading, *(column for column in table if column not in leading)]]
        write_file(runs.with_name(TABLE), table.to_csv(index=False).encode())


def kept_runs(runs: Path) -> tuple[list[KeptRun], list[str]]:
    """Return the runs in the folder `runs`, oldest first, and the names of those that cannot be read."""
    remove_leftovers(runs)
    intact, damaged = [], []
    for folder in sorted(path for path in runs.glob("*") if RUN.fullmatch(path.name)):
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            run = KeptRun(folder=folder, sequence=facts["sequence"], facts=facts)
            complete = {"content", "finished", "configuration", "commit", "machine"} <= facts.keys()
            complete = complete and not run.metrics().empty and not run.summary().empty
        except (OSError, ValueError, KeyError, TypeError, UserError):
            complete = False
        if complete:
            intact.append(run)
        else:
            damaged.append(folder.name)
    return intact, damaged


def choose_runs(runs: Sequence[KeptRun], names: Sequence[str], *, where: object) -> list[KeptRun]:
    """Return the runs whose ids start with one of `names`, or the newest of a sequence named there; without any, all.

    UserError if there are no runs, or a name fits none.
    """
    if not runs:
        raise UserError("There are no finished runs", where=where, do="kedro run, which keeps its results there")
    selected: dict[str, KeptRun] = {}
    for name in names or [run.id for run in runs]:
        matches = [run for run in runs if run.sequence == name][-1:] or [run for run in runs if run.id.startswith(name)]
        if not matches:
            raise unknown_name("run", name, [*{run.sequence for run in runs}, *(run.id for run in runs)], where=where)
        selected |= {run.id: run for run in matches}
    return [run for run in runs if run.id in selected]


def flat_settings(value: Any, key: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings and lists as JSON texts by dotted key; named items of a list by name."""
    if isinstance(value, Mapping) and value:
        parts = value.items()
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        parts = ((item.get("label") or item.get("index") or position, item) for position, item in enumerate(value))
    else:
        return {key: json.dumps(value)}
    return {name: leaf for part, item in parts
            for name, leaf in flat_settings(item, f"{key}.{part}".lstrip(".")).items()}


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"The table cannot be read ({error})", where=path, do="delete the folder of the run") from None
