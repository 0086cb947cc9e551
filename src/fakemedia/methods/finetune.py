"""Fine-tuning on each stage in turn: the lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.methods.method import GradientMethod


@dataclass(frozen=True, kw_only=True)
class Config:
    """Fine-tuning has no settings."""


def build(config: Config, seed: int) -> GradientMethod:
    """Return plain fine-tuning."""
    return GradientMethod()
