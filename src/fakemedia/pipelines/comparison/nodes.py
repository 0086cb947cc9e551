"""Nodes of the comparison pipeline: everything is drawn from scores and distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.core.plan import Plan
    from fakemedia.reporting.comparison import Comparison
    from fakemedia.reporting.rendering import RenderedFigure


def compare(*parts: Any, plans: tuple[Plan, ...], measures: tuple[str, ...]) -> Comparison:
    """Return the comparison of the sequences in `plans`, the first against the second and so on.

    `parts` are the distances by `measures`, then the results of each plan's methods, plan by plan.
    """
    import pandas as pd

    from fakemedia.reporting.comparison import compare

    distances = {name: table.set_index("task") for name, table in zip(measures, parts, strict=False)}
    results = iter(parts[len(measures):])
    scores = {plan.sequence: pd.concat([next(results).scores for _ in plan.methods], ignore_index=True)
              for plan in plans}
    return compare(scores, plans, distances)


def write_comparison(comparison: Comparison) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, str, str, str]:
    """Return arrangements, differences and predictions, the LaTeX and Markdown tables, and the verdicts."""
    from fakemedia.reporting.comparison_page import comparison_latex, comparison_markdown, comparison_text

    return (comparison.arrangements, comparison.differences, comparison.predictions, comparison_latex(comparison),
            comparison_markdown(comparison), comparison_text(comparison))


def draw_comparison(comparison: Comparison) -> list[RenderedFigure]:
    """Return the figure of the arrangements and that of the rank correlations, in all file formats."""
    from fakemedia.reporting.figures.arrangements import draw_comparison

    return draw_comparison(comparison)


def write_comparison_page(comparison: Comparison, figures: list[RenderedFigure]) -> str:
    """Return the comparison as one self-contained HTML page."""
    from fakemedia.reporting.comparison_page import comparison_page

    return comparison_page(comparison, figures)
