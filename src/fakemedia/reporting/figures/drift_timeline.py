"""The statistics of drift over the windows of the log."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fakemedia.reporting.style import COLOURS, add_legend, panels, styled

THRESHOLD, ALARM = "0.4", COLOURS[1]


@styled
def timeline_figure(windows: pd.DataFrame, statistics: Mapping[str, str]) -> Figure:
    """Draw a panel for each of `statistics`, title by column, against the number of the window, with its threshold.

    `windows` is one stream of `monitoring.timeline`, judged windows alone. Filled dots are above the threshold, orange
    ones an alarm.
    """
    figure, panel_axes = panels(len(statistics), max_columns=2, height=1.5)
    for axes, (name, title) in zip(panel_axes, statistics.items(), strict=True):
        rows = windows[["number", name, f"{name}_threshold"]].astype(float)
        axes.plot(rows["number"], rows[name], color=COLOURS[0], linewidth=0.8)
        axes.step(rows["number"], rows[f"{name}_threshold"], where="mid", color=THRESHOLD, linewidth=0.8,
                  linestyle=(0, (2, 2)))
        is_alarm = [name in str(text).split() for text in windows["alarm"]]
        above = rows[name] > rows[f"{name}_threshold"]
        colours = [ALARM if alarm else COLOURS[0] for alarm in is_alarm]
        fills = [colour if filled else "white" for colour, filled in zip(colours, above, strict=True)]
        axes.scatter(rows["number"], rows[name], s=12, c=fills, edgecolors=colours, linewidths=0.8, zorder=3)
        axes.set_title(title)
        axes.set_xlabel("Window")
        axes.xaxis.get_major_locator().set_params(integer=True)  # pyright: ignore
    add_legend(figure, [Line2D([], [], color=COLOURS[0], marker="o", markerfacecolor="white", label="quiet"),
                        Line2D([], [], color=COLOURS[0], marker="o", label="above the threshold"),
                        Line2D([], [], color=ALARM, marker="o", linestyle="", label="alarm"),
                        Line2D([], [], color=THRESHOLD, linestyle=(0, (2, 2)), label="threshold")])
    return figure
