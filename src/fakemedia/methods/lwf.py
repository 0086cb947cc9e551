"""Learning without forgetting (Li and Hoiem 2016): distillation from the last stage on the new pictures, undecayed.

total = CE + w * T^2 * KL(teacher_T || student_T)

It is `kd` with a constant weight and only the teacher in its bracket. New pictures carry little information on the
earlier tasks: where these differ, it hinders learning more than it preserves; see `replay`. The first stage is
fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.methods import kd


@dataclass(frozen=True, kw_only=True)
class Config:
    """Weight and temperature of the teacher."""

    weight: float = 1.0
    """w (Li and Hoiem 2016)."""
    temperature: float = 2.0
    """T (Li and Hoiem 2016)."""

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.temperature > 0):
            raise ValueError("weight of at least 0 and temperature above 0")


def build(config: Config, seed: int) -> kd.KnowledgeDistillation:
    """Return learning without forgetting."""
    return kd.KnowledgeDistillation(kd.Config(weight=config.weight, temperature=config.temperature, alpha=1.0,
                                              decay=1.0))
