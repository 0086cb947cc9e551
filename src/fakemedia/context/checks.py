"""Checks of the configuration before a run starts."""

from __future__ import annotations

from fakemedia.context.context import Context
from fakemedia.core.plan import Plan


def check_trainable(context: Context, plan: Plan) -> None:
    """Raise UserError for settings that a run of `plan` would refuse."""
    plan.check(context.root)
    plan.rooted(context.root).resolved()
    context.calibration  # noqa: B018
    if robustness := context.robustness(plan.sequence):
        robustness.conditions()
    context.collection(plan.collection).audit_config  # noqa: B018
