"""Fine-tuning on each stage in turn: the lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.methods.method import Strategy


@dataclass(frozen=True, kw_only=True)
class Config:
    """Fine-tuning has no settings of its own."""


def build(config: Config, seed: int) -> Strategy:
    """Return plain fine-tuning."""
    return Strategy()
