"""`kedro monitor`: has what is scored changed?"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from fakemedia.catalog.names import MONITORING_PAGE, MONITORING_WINDOWS
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError

ALARM = 3
DISCOVERY = "discovery"


@click.command()
@click.option("--window", type=click.IntRange(min=20), help="Pictures of a window, instead of monitoring.window.")
@click.option("--since", help="Ignore what was scored before this ISO date or time; the reference begins there.")
@click.option("--log", type=click.Path(path_type=Path), help="Log of scored pictures, instead of serving.log.")
@click.option("--discover", is_flag=True, help="Instead, cluster the pictures that are unknown or unsure, and write a "
              "file to label about 30 of each cluster.")
@click.option("--pictures", type=click.Path(path_type=Path), help="With --discover: folder of the pictures, found by "
              "their SHA-256, for a contact sheet of each cluster; with --labelled: the pictures to copy.")
@click.option("--labelled", type=click.Path(path_type=Path), metavar="FOLDER", help="Instead, copy the pictures that "
              "were labelled in the file of --discover to FOLDER, as kedro update takes them; they are found in "
              "--pictures.")
@plain_errors
def monitor(window: int | None, since: str | None, log: Path | None, discover: bool, pictures: Path | None,
            labelled: Path | None) -> None:
    """Judge what was scored since the last time, window by window and source by source.

    Prints a line for each new window and writes data/08_reporting/monitoring/monitoring.html. Exit status 3: an alarm
    in a new window, or in the last one of a source; 0: none.
    """
    from fakemedia.catalog.monitoring_datasets import WindowsDataset
    from fakemedia.cli.run_command import defaults, run_pipelines
    from fakemedia.monitoring.timeline import WINDOW_KEYS, alarms, line

    settings = {name: value for name, value in (("window", window), ("since", since)) if value is not None}
    params: dict[str, Any] = {"monitoring": settings} if settings else {}
    if log is not None:
        params["serving"] = {"log": str(log.resolve())}
    context = load_context(params=params)
    context.monitoring  # noqa: B018
    if labelled is not None:
        click.echo(_copy_labelled(context, labelled, pictures))
        return
    if discover:
        for path in _discover(context, pictures):
            click.echo(path)
        return
    dataset = WindowsDataset(str(context.path(MONITORING_WINDOWS)))
    before = dataset.load()
    logging.getLogger("kedro").setLevel(logging.WARNING)
    run_pipelines(**{**defaults(), "pipelines": ["monitoring"], "params": params})
    after = dataset.load()
    known_keys = {tuple(row[name] for name in WINDOW_KEYS) for row in before.to_dict("records")}
    new_windows = [row for row in after.to_dict("records")
                   if tuple(row[name] for name in WINDOW_KEYS) not in known_keys]
    for row in new_windows:
        click.echo(line(row))
    if not new_windows:
        click.echo("No new window")
    click.echo(f"Page: {context.path(MONITORING_PAGE)}")
    new_alarms = alarms(after, before)
    if len(new_alarms):
        click.echo(f"{len(new_alarms)} windows with an alarm: look at the pictures, then update the detector, or set "
                   "monitoring.since to take what comes now as the reference")
        raise click.exceptions.Exit(ALARM)


def _copy_labelled(context: Context, out: Path, pictures: Path | None) -> str:
    from fakemedia.monitoring.discovery import LABEL_FILE, find_files, read_labels, write_labelled
    from fakemedia.serving.log import read_log

    if pictures is None:
        raise UserError("The pictures to copy are not named", where="--labelled", expected="--pictures FOLDER")
    path = context.path(MONITORING_PAGE).parent / DISCOVERY / LABEL_FILE
    labels = read_labels(path, read_log(context.score_log)["sha256"].tolist())
    counts = write_labelled(labels, find_files(pictures, labels), out)
    summary = ", ".join(f"{counts.get(label, 0)} {label}" for label in ("real", "fake"))
    return (f"{out}: {summary}; {len(labels) - sum(counts.values())} of the labelled pictures were not found\n"
            f"To learn them: kedro update --task NAME --data {out}")


def _discover(context: Context, pictures: Path | None) -> list[Path]:
    from fakemedia.monitoring.discovery import discover
    from fakemedia.serving.log import last_detector, read_far

    rows = read_far(context.score_log, detector=last_detector(context.score_log) or "", since=context.monitoring.begin)
    return discover(rows, context.path(MONITORING_PAGE).parent / DISCOVERY, pictures)
