"""`family`: tasks are close if their generators are declared to be of one family.

Formula: d(a, b) = 0 if family(a) = family(b), else 1.
Source: the groups GAN, non-GAN and unknown of Tassone, Maiano and Amerini, "Continuous fake media detection" (2024),
after Li et al., "A continual deepfake detection benchmark" (WACV 2023).
Range: {0, 1}. Cost: none; no image is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fakemedia.core.errors import UserError
from fakemedia.similarity.measure import Measure, TaskSample

READS = "name"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The declared families."""

    families: Mapping[str, str] = field(default_factory=dict)
    """Family of each task, by task name."""


def build(config: Config) -> Measure:
    """Return the measure; a task without a family is a UserError when it is summarised."""
    def summarise(sample: TaskSample) -> str:
        if sample.task not in config.families:
            raise UserError(f"No family is declared for the task {sample.task!r}", where="measure family",
                            expected="a family for each task", do=f"add {sample.task!r} to families")
        return config.families[sample.task]

    return Measure(summarise=summarise, distance=lambda a, b: float(a != b), reads=READS)
