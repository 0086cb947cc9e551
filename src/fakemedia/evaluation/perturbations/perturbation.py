"""The interface of perturbations, and the conditions of a robustness test.

A perturbation file defines a frozen, keyword-only `Config` with the field `strength` (a float in the perturbation's own
unit) and `build(config)`, which returns a `Perturb`: a pure function of the stored picture. `UNIT` is the unit
for figures; `VERSION` (default 1) is raised when the perturbed pictures change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive
from fakemedia.store.policies import recompressed

Pixels = NDArray[np.uint8]
Perturb = Callable[[Pixels, int], Pixels]
"""A function of a picture, uint8 (H, W, 3), not changed in place, and its seed; it returns the same shape and type."""
UNPERTURBED = "none"
"""The condition of strength 0 with unchanged pictures, which the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig:
    """How the robustness of the last checkpoint of every method and seed is measured."""

    sequences: str | tuple[str, ...] = ()
    """The sequence, or the sequences, for which it is measured; empty: none."""
    per_task_max: int | None = 250
    """Test images per task, at most, drawn once, with the task's share of either class; None: all."""
    perturbations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Strengths of each perturbation, by its name (a file in `evaluation/perturbations/`)."""

    def __post_init__(self) -> None:
        if self.per_task_max is not None and self.per_task_max < 2:
            raise ValueError("per_task_max of at least 2, or none")

    @property
    def versions(self) -> dict[str, int]:
        """The version of each perturbation: what its file assigns to `VERSION`, or 1."""
        return {name: plugin.constant("evaluation.perturbations", name, "VERSION", 1) for name in self.perturbations}

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """The sequences."""
        return (self.sequences,) if isinstance(self.sequences, str) else self.sequences

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions to measure under; see `make_conditions`."""
        return make_conditions(self.perturbations, where="robustness.perturbations")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One perturbation at one strength."""

    name: str
    strength: float
    perturb: Perturb

    def __call__(self, pixels: Pixels, id: str) -> Pixels:
        """Return the picture with the content id `id` as it is under this condition.

        Random numbers depend only on the name and the content id, so that a picture is perturbed
        in the same way for all methods, seeds and strengths.
        """
        return self.perturb(pixels, derive(0, "perturbation", self.name, id))


def make_conditions(perturbations: Mapping[str, Sequence[float]], *, where: str) -> tuple[Condition, ...]:
    """Return the unperturbed condition and then every perturbation at each of its strengths, in the order given.

    A perturbation without strengths is left out. UserError if none is left, for an unknown name, and for a strength out
    of range or given twice.
    """
    if not any(perturbations.values()):
        raise UserError("There are no perturbations", where=where,
                        expected=f"strengths for some of {', '.join(plugin.names('evaluation.perturbations'))}")
    conditions = [Condition(name=UNPERTURBED, strength=0.0, perturb=lambda pixels, seed: pixels)]
    for name, strengths in perturbations.items():
        plugin.load("evaluation.perturbations", name, where=where)
        if len(set(strengths)) < len(strengths):
            raise UserError(f"The strengths {list(strengths)} cannot be used", where=f"{where}.{name}",
                            expected="strengths given once each, or [] to leave the perturbation out")
        conditions += [
            Condition(name=name, strength=float(strength), perturb=plugin.create(
                "evaluation.perturbations", name, {"strength": strength}, where=f"{where}.{name}"))
            for strength in strengths
        ]
    return tuple(conditions)


def check_strength(strength: float, low: float, high: float, what: str, *, whole: bool = False) -> None:
    """Raise ValueError unless `strength` is in [low, high] and, with `whole`, is a whole number."""
    if not low <= strength <= high or (whole and strength != int(strength)):
        raise ValueError(f"{what} from {low:g} to {high:g}" + (", a whole number" if whole else ""))


def enhancement(kind: Callable[[Image.Image], Any], factor: float) -> Perturb:
    """Return the perturbation by one of Pillow's `ImageEnhance` classes."""
    return lambda pixels, seed: np.asarray(kind(Image.fromarray(pixels)).enhance(factor))


def compression(codec: str, quality: float) -> Perturb:
    """Return one compression by `codec`, JPEG or WEBP, as by a policy of the pixel store; see `recompressed`."""
    return lambda pixels, seed: recompressed(pixels, codec, int(quality))
