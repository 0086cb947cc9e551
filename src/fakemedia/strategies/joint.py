"""Joint training on all tasks seen so far, from the common start: the upper bound."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.core.types import Stage
from fakemedia.strategies.base import Strategy


@dataclass(frozen=True, kw_only=True)
class Config:
    """When joint training takes place."""

    every_stage: bool = False
    """Train at every stage; otherwise at the last one alone, which is all that its final accuracy needs."""


class Joint(Strategy):
    """Cross entropy over the training images of all tasks seen."""

    scope = "seen"
    starts_over = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def learns(self, stage: Stage, last: bool) -> bool:
        return last or self.config.every_stage


def build(config: Config, seed: int) -> Joint:
    """Return joint training."""
    return Joint(config)
