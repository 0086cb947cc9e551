"""The sections of the report that hold figures, and what their figures are drawn from.

Apart from the figures themselves (`gallery`), so that pipelines are made without importing a drawing library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report with figures."""

    key: str
    """Name in nodes, datasets and files, and in the page's template."""
    needs: tuple[str, ...]
    """Datasets of the reporting pipeline that its figures are drawn from, `tables` first."""


STAGES = Section(key="stages", needs=("tables",))
TASKS = Section(key="tasks", needs=("tables",))
MATRICES = Section(key="matrices", needs=("tables",))
SCORES = Section(key="scores", needs=("tables", "profiles"))
EXAMPLES = Section(key="examples", needs=("tables", "examples"))
NOVELTY = Section(key="novelty", needs=("tables", "novelty"))
ROBUSTNESS = Section(key="robustness", needs=("tables", "robustness"))
TRAINING = Section(key="training", needs=("tables", "histories"))
SECTIONS = (STAGES, TASKS, MATRICES, SCORES, EXAMPLES, NOVELTY, ROBUSTNESS, TRAINING)
"""In the order of the page."""
