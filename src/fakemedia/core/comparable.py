"""Whether two sequences can be compared."""

from __future__ import annotations

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan


def check_comparable(plan: Plan, other: Plan) -> None:
    """Raise UserError unless both sequences learn the same tasks, with a method and a seed in common."""
    where = f"sequences.{plan.sequence}.against: {other.sequence}"
    labels = [method.label for method in plan.methods
              if method.label in {other_method.label for other_method in other.methods}]
    if not labels:
        raise UserError("The sequences have no method in common", where=where, expected="one at least")
    facts, other_facts = ({"collection": sequence.collection, "tasks": sorted(sequence.tasks),
                           "crop": [sequence.method(label).training.crop for label in labels]}
                          for sequence in (plan, other))
    for key, value in facts.items():
        if other_facts[key] != value:
            raise UserError(f"The sequences differ in {key}", where=where, expected=f"{value}, as {plan.sequence} has",
                            do="compare sequences that are tested on the same images")
    if not set(plan.seeds) & set(other.seeds):
        raise UserError("The sequences have no seed in common", where=where, expected="one at least")
