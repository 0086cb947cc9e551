"""The sections of the report that hold figures, and what their figures are drawn from.

Apart from the figures themselves (`gallery`), so that pipelines are made without importing a drawing library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report with figures."""

    key: str
    """Name in nodes, datasets and files."""
    title: str
    needs: tuple[str, ...]
    """Datasets of the reporting pipeline that its figures are drawn from, `tables` first."""


STAGES = Section(key="stages", title="Over the stages", needs=("tables",))
TASKS = Section(key="tasks", title="Task by task", needs=("tables",))
MATRICES = Section(key="matrices", title="Accuracy matrices", needs=("tables",))
SCORES = Section(key="scores", title="Scores", needs=("tables", "profiles"))
ROBUSTNESS = Section(key="robustness", title="Robustness", needs=("tables", "robustness"))
TRAINING = Section(key="training", title="Training and cost", needs=("tables", "histories"))
SECTIONS = (STAGES, TASKS, MATRICES, SCORES, ROBUSTNESS, TRAINING)
"""In the order of the page."""
