"""The budget of a memory: settings, and the share of each class of each task."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from fakemedia.core.errors import UserError

Selection = Literal["reservoir", "herding", "random"]
MIB = 2**20
Cell = TypeVar("Cell", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Size of the memory and selection of its pictures."""

    pictures: int = 500
    """Pictures of all tasks together."""
    mib: float | None = None
    """Upper limit of their pixels, MiB; None: no limit."""
    selection: Selection = "reservoir"
    """`reservoir`: at random, spread over the source groups, the same ones in both classes; `random`: at random among
    all pictures; `herding`: those whose mean is closest to that of their class in the network's features (Rebuffi et
    al. 2017, algorithm 4). Only training pictures are kept, so none shares its source group with a held-out split."""

    def __post_init__(self) -> None:
        if self.pictures < 1 or (self.mib is not None and not self.mib > 0):
            raise ValueError("pictures of at least 1, and mib above 0 or none")


def quotas(sizes: Mapping[Cell, int], budget: int) -> dict[Cell, int]:
    """Return the number of pictures that each cell keeps, of `sizes`: equal, except where a cell has fewer.

    >>> quotas({"a": 2, "b": 9, "c": 9}, 12)
    {'a': 2, 'b': 5, 'c': 5}
    """
    quota, remaining = {}, budget
    for number, cell in enumerate(sorted(sizes, key=lambda cell: sizes[cell])):
        quota[cell] = min(sizes[cell], remaining // (len(sizes) - number))
        remaining -= quota[cell]
    return {cell: quota[cell] for cell in sizes}


def check_budget(config: Budget, smallest: Mapping[Cell, int], *, where: object) -> None:
    """Raise UserError if a cell, a class of a task, would keep no picture; `smallest` gives its smallest one, bytes."""
    cells = len(smallest)
    if config.pictures < cells:
        raise UserError(f"A memory of {config.pictures} pictures is smaller than one per task and class", where=where,
                        expected=f"{cells} pictures at least", do="raise the method's `pictures`")
    largest = max(smallest.values(), default=0)
    if config.mib is not None and largest * cells > config.mib * MIB:
        raise UserError(f"A memory of {config.mib:g} MiB is smaller than one picture per task and class", where=where,
                        expected=f"{largest * cells / MIB:.3g} MiB at least", do="raise the method's `mib`")
