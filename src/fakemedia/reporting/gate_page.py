"""The report of the gate as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakemedia.reporting.pages import Cell, Table, render_page

WORDS = {"pass": "The candidate may be promoted.", "fail": "The candidate may not be promoted.",
         "too few to tell": "There are too few pictures to tell."}
NOTE = ("Balanced accuracy at the calibrated threshold of each detector, percent. The difference is that of the same "
        "pictures, in points, with its one-sided 95 % bounds over source photographs. {old} New tasks pass where the "
        "lower bound is above 0. Flips: pictures that the champion had right and the candidate has wrong. Pictures are "
        "scored as in service: {crops}.")


def gate_page(report: Mapping[str, Any]) -> str:
    """Return the page of a gate's report, as `registry.gate.judge` makes it."""
    versions, origins = report["versions"], report["origins"]
    return render_page(
        "gate.html", title=f"Gate: version {versions['candidate']} against version {versions['champion']}",
        verdict=WORDS[report["outcome"]], reasons=report["reasons"], unlearned=report["unlearned"],
        loosened=report["loosened"],
        origins=[(f"Version {versions[name]}, {name}", origins[name]) for name in ("candidate", "champion")],
        tasks=_tasks(report), alarms=_alarms(report), cases=_cases(report) if report["cases"] else None,
        note=_note(report))


def _note(report: Mapping[str, Any]) -> str:
    settings, crops = report["settings"], report["crops"]
    old = (f"The mean of the old tasks passes where the lower bound is above -{settings['delta']:g}, each of them "
           f"where it is above -{max(settings['delta'], settings['delta_task']):g}."
           if any(row["role"] == "mean" for row in report["tasks"]) else
           f"The old task passes where the lower bound is above -{settings['delta']:g}.")
    descriptions = {name: f"{count} crops" if count > 1 else "the centre crop" for name, count in crops.items()}
    return NOTE.format(old=old, crops=f"{descriptions['champion']} by the champion, {descriptions['candidate']} by the "
                                      "candidate")


def _tasks(report: Mapping[str, Any]) -> Table:
    header = ("Task", "Role", "Outcome", "Real", "Fake", "Champion", "Candidate", "Difference", "Flips, %")
    rows = [[Cell(text=row["task"]), Cell(text=row["role"]), Cell(text=row["outcome"], bold=row["outcome"] != "pass"),
             *(Cell(text=str(row[name]), value=row[name]) for name in ("real", "fake")),
             *(Cell(text=f"{row[name]:.1f}", value=row[name]) for name in ("champion", "candidate")),
             Cell(text=f"{row['difference']:+.1f}", value=row["difference"],
                  span=f"{row['low']:+.1f} to {row['high']:+.1f}"),
             Cell(text=f"{row['negative_flips']:.1f}", value=row["negative_flips"])] for row in report["tasks"]]
    return Table(header=header, rows=rows, text_columns=3)


def _alarms(report: Mapping[str, Any]) -> Table:
    alarms = report["false_alarms"]
    return Table(header=("Outcome", "Real pictures", "Champion, %", "Candidate, %", "Allowed, %"), rows=[[
        Cell(text=alarms["outcome"]), Cell(text=str(alarms["real"])), Cell(text=f"{alarms['champion']:.1f}"),
        Cell(text=f"{alarms['candidate']:.1f}"), Cell(text=f"{report['settings']['false_alarms']:g}")]])


def _cases(report: Mapping[str, Any]) -> Table:
    return Table(header=("Picture", "Right answer", "Outcome"), text_columns=3, rows=[
        [Cell(text=case["path"]), Cell(text=case["answer"]),
         Cell(text=case["outcome"], bold=case["outcome"] == "regression")] for case in report["cases"]])
