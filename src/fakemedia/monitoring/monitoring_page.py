"""Windows and alarms as one HTML page."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

from fakemedia.monitoring.drift import STATISTICS
from fakemedia.monitoring.monitoring_config import MonitoringConfig
from fakemedia.monitoring.timeline import ALL, KEYS, alarms, no_windows
from fakemedia.reporting.figures.drift_timeline import timeline_figure
from fakemedia.reporting.pages import Cell, Table, render_page
from fakemedia.reporting.rendering import RenderedFigure, render_figure

TITLES = {"mmd": "Embeddings: MMD²", "ks": "Logits: Kolmogorov-Smirnov", "unsure": "Unsure, beyond the reference",
          "unknown": "Unknown, beyond the reference"}
MAX_FIGURES = 6
MAX_ROWS = 100
HEADER = ("Window", "Source", "Version", "From", "To", "Pictures", *STATISTICS, "Result")


def draw_timeline(windows: pd.DataFrame) -> list[RenderedFigure]:
    """Return a figure for each stream of the detector that was judged last, at most MAX_FIGURES."""
    judged = windows.loc[windows["kind"] == "judged"]
    figures = []
    for number, rows in enumerate(part for _, part in _latest(judged).groupby(KEYS, sort=False)):
        titles = {name: title for name, title in TITLES.items() if rows[name].notna().to_numpy().any()}
        scope, source = rows["scope"].iloc[0], rows["source"].iloc[0]
        if number < MAX_FIGURES:
            figures.append(render_figure(f"timeline_{number + 1}", timeline_figure(rows, titles),
                                         f"{_where(scope, source)}: every statistic and its threshold, by window."))
    return figures


def monitoring_page(windows: pd.DataFrame, timeline: list[RenderedFigure], config: MonitoringConfig) -> str:
    """Return the page: whether the last windows alarm, the figures, and the last MAX_ROWS windows."""
    latest = _latest(windows)
    current = alarms(latest, windows)
    with_alarm = windows.loc[windows["alarm"] != ""]
    return render_page("monitoring.html", title="Monitoring", pictures=timeline, config=config,
                       collecting="judged" not in set(latest["kind"]),
                       last=None if windows.empty else _time(max(windows["end"].tolist())),
                       now=[(_where(row["scope"], row["source"]), [TITLES[name] for name in row["alarm"].split()],
                             int(row["number"])) for row in current.to_dict("records")],
                       alarms=_table(with_alarm.iloc[::-1].head(MAX_ROWS)) if len(with_alarm) else None,
                       windows=_table(windows.sort_values("end", ascending=False).head(MAX_ROWS)),
                       left_out=max(0, len(windows) - MAX_ROWS))


def _latest(windows: pd.DataFrame) -> pd.DataFrame:
    """Return the windows of the detector that scored last."""
    if windows.empty:
        return no_windows()
    last = windows.sort_values("last_id")["detector"].tolist()[-1]
    return windows.loc[windows["detector"] == last]


def _where(scope: str, source: str) -> str:
    return "All sources" if scope == ALL else source or "Without a source"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _table(windows: pd.DataFrame) -> Table:
    rows = []
    for row in windows.to_dict("records"):
        result = f"alarm: {row['alarm']}" if row["alarm"] else f"above: {row['exceeded']}" if row["exceeded"] else (
            "reference" if row["kind"] == "reference" else "quiet")
        values = [Cell(text="" if pd.isna(row[name]) else f"{row[name]:.3f}", value=float(row[name]),
                       span="" if pd.isna(row[name]) else f"of {row[f'{name}_threshold']:.3f}",
                       bold=name in row["exceeded"].split()) for name in STATISTICS]
        rows.append([Cell(text=f"{row['number']}", value=float(row["number"])),
                     Cell(text=_where(row["scope"], row["source"])), Cell(text=f"{row['version']}"),
                     Cell(text=_time(row["start"])), Cell(text=_time(row["end"])), Cell(text=f"{row['pictures']}"),
                     *values, Cell(text=result, bold=bool(row["alarm"]))])
    return Table(header=HEADER, rows=rows, text_columns=5,
                 titles=["", "", "", "", "", "", *(TITLES[name] for name in STATISTICS), ""])
