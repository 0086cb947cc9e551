"""Plans of tests, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import Stage


def make_plan(methods: Iterable[str] | Mapping[str, Mapping[str, Any]], *, stages: tuple[Stage, ...],
              network: Plugin = Plugin(name="convnet"),  # noqa: B008
              training: TrainingConfig = TrainingConfig(),  # noqa: B008
              **other: Any) -> Plan:
    """Return a plan of `methods`, by label: their settings, or their names alone. A label is its method's name."""
    settings = methods if isinstance(methods, Mapping) else {label: {} for label in methods}
    given = {"sequence": "tiny", "collection": "noise", "seeds": (0,), **other}
    return Plan(stages=stages, network=network, training=training, methods=tuple(
        MethodPlan(label=label, method=label, settings=of_label, network=network, training=training)
        for label, of_label in settings.items()), **given)


def changed(plan: Plan, **settings: Any) -> Plan:
    """Return `plan` with other settings of training."""
    training = replace(plan.training, **settings)
    return replace(plan, training=training, methods=tuple(replace(each, training=training) for each in plan.methods))
