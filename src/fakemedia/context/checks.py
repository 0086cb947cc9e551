"""Checks of the configuration before a run starts."""

from __future__ import annotations

from fakemedia.context.context import Context
from fakemedia.core.plan import Plan
from fakemedia.core.types import FAKE, REAL
from fakemedia.memory.budget import Budget, check_budget


def check_trainable(context: Context, plan: Plan) -> None:
    """Raise UserError for settings that a run of `plan` would refuse."""
    plan.check(context.root)
    _check_memories(plan.rooted(context.root).resolved())
    context.calibration  # noqa: B018
    if robustness := context.robustness(plan.sequence):
        robustness.conditions()
    context.collection(plan.collection).audit_config  # noqa: B018


def _check_memories(plan: Plan) -> None:
    """Raise UserError if a label's memory has fewer pictures than the plan has classes of tasks."""
    classes = (FAKE,) if plan.real == "stored" else (REAL, FAKE)
    cells = {(task, label): 0 for task in plan.listed for label in classes}
    for method in plan.methods:
        if pictures := method.settings.get("pictures"):
            check_budget(Budget(pictures=pictures), cells, where=f"sequences.{plan.sequence}.methods.{method.label}")
