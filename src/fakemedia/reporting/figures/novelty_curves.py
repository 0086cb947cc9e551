"""Novelty over the stages: of generators still to come, and of the tasks learned."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fakemedia.core.types import Stage
from fakemedia.reporting.style import add_legend, line_styles, panels, styled

PANELS = {"auc": "AUC: fakes still to come", "new_fake": "Fakes still to come:\ncalled unknown (%)",
          "known": "Tasks learned:\ncalled unknown (%)"}
REFERENCES = {"auc": 0.5, "known": 1.0}
"""Chance, and what the threshold intends."""


@styled
def novelty_figure(novelty: pd.DataFrame, stages: Sequence[Stage], methods: Sequence[str]) -> Figure:
    """Draw the measures of `novelty_table.novelty_table` against the stages, mean over seeds, all methods.

    The dotted lines are chance and the share that the threshold intends.
    """
    means = pd.DataFrame(novelty.groupby(["method", "stage"], sort=False, as_index=False)[list(PANELS)].mean())
    figure, panel_axes = panels(len(PANELS), height=1.9)
    for axes, (name, title) in zip(panel_axes, PANELS.items(), strict=True):
        for method, style in line_styles(methods).items():
            rows = means.loc[(means["method"] == method) & means[name].notna()].sort_values("stage")
            if rows.empty:  # An empty line that is not clipped would spoil the layout.
                continue
            axes.plot(rows["stage"], rows[name], color=style.colour, marker=style.marker, linestyle=style.dashes,
                      markersize=3, clip_on=False)
        if name in REFERENCES:
            axes.axhline(REFERENCES[name], color="0.4", linewidth=0.6, linestyle=(0, (2, 2)))
        axes.set_ylim(bottom=0, top=1 if name == "auc" else None)
        axes.set_xlim(0.7, len(stages) + 0.3)
        axes.set_xticks(range(1, len(stages) + 1), [stage.name for stage in stages], rotation=30, ha="right",
                        rotation_mode="anchor")
        axes.set_title(title)
        axes.set_xlabel("After stage")
        axes.grid(axis="x", visible=False)
    plotted = set(means["method"])
    add_legend(figure, [Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dashes, label=method)
                        for method, style in line_styles(methods).items() if method in plotted])
    return figure
