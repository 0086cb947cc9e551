"""Accuracy against the strength of each perturbation."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fakemedia.core import plugin
from fakemedia.evaluation.perturbations.perturbation import UNPERTURBED
from fakemedia.reporting.style import add_legend, line_styles, panels, styled

LABELS = {"accuracy": "Accuracy (%)", "auc": "AUC"}


@styled
def robustness_figure(robustness: pd.DataFrame, methods: Sequence[str], measure: str = "accuracy") -> Figure:
    """Draw `measure` of `robustness.robustness_table` against the strength, a panel a perturbation, all methods.

    The marks at the left edge are the unchanged images, where they were scored too.
    """
    table = robustness.loc[(robustness["measure"] == measure) & robustness["strength"].notna()
                           & robustness["mean"].notna()]
    clean = table.loc[table["perturbation"] == UNPERTURBED].set_index("method")["mean"]
    names = [name for name in dict.fromkeys(table["perturbation"]) if name != UNPERTURBED]
    figure, panel_axes = panels(max(len(names), 1), height=1.7, sharey=True)
    for axes, name in zip(panel_axes, names, strict=False):
        curve = table.loc[table["perturbation"] == name]
        for method, style in line_styles(methods).items():
            rows = curve.loc[curve["method"] == method].sort_values("strength")
            if rows.empty:
                continue
            axes.vlines(rows["strength"], rows["low"], rows["high"], color=style.colour, linewidth=0.8, alpha=0.7)
            axes.plot(rows["strength"], rows["mean"], color=style.colour, marker=style.marker, linestyle=style.dashes,
                      markersize=3)
            if method in clean:
                axes.axhline(clean[method], xmax=0.04, color=style.colour, linewidth=1.6)
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel(_unit(name))
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axes.set_ylabel(LABELS[measure])
    add_legend(figure, [Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dashes, label=method)
                        for method, style in line_styles(methods).items() if (table["method"] == method).any()])
    return figure


def _unit(perturbation: str) -> str:
    """Return the unit of a perturbation's strengths: `UNIT` of its file."""
    kind = "evaluation.perturbations"
    is_plugin = perturbation in plugin.names(kind)
    return plugin.constant(kind, perturbation, "UNIT", "strength") if is_plugin else "strength"
