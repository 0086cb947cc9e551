"""Which weights of a network are trained: the setting `tune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from fakemedia.core.errors import UserError, unknown_name

Kind = Literal["all", "norm", "head", "lora"]
WAYS = ("all", "norm", "head", "lora", "lora:<r>", "lora:<r>:<alpha>")


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Which weights are trained."""

    kind: Kind = "all"
    """`all`; `norm`: the affine parameters of normalisation layers, and the head; `head`: only the head; `lora`: a
    low-rank update of attention and 1x1 convolutions, and the head."""
    rank: int = 8
    """Rank r of the update of `lora`."""
    alpha: float = 16.0
    """The update is scaled by alpha / r."""


def read_tune(text: object, *, where: object = None) -> Tune:
    """Return the meaning of `text`, one of WAYS, alpha 2 r unless given; UserError otherwise.

    >>> read_tune("lora:4")
    Tune(kind='lora', rank=4, alpha=8.0)
    """
    kind, *numbers = str(text).split(":")
    if kind not in get_args(Kind) or (numbers and kind != "lora"):
        raise unknown_name("way to tune", text, WAYS, where=where)
    try:
        rank = int(numbers[0]) if numbers else Tune.rank
        alpha = float(numbers[1]) if len(numbers) > 1 else 2.0 * rank
        is_valid = rank >= 1 and 0 < alpha < float("inf") and len(numbers) < 3
    except ValueError:
        is_valid = False
    if not is_valid:
        raise UserError(f"{text!r} is not a valid way to tune", where=where,
                        expected="lora:<r>:<alpha> with an integer r of at least 1 and alpha above 0")
    return Tune(kind=cast("Kind", kind), rank=rank, alpha=alpha)
