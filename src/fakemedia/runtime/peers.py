"""What must be the same in all processes of a run."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch

from fakemedia.core.errors import UserError
from fakemedia.core.extras import PACKAGE
from fakemedia.runtime.cluster import code_fingerprint

HOST = "host"


@cache
def own_facts() -> dict[str, str]:
    """Return the host, code and versions of this process."""
    return {HOST: platform.node(), "code of fakemedia": code_fingerprint(PACKAGE), "Python": platform.python_version(),
            "torch": torch.__version__, "numpy": np.__version__}


def check_same(facts: Sequence[Mapping[str, str]]) -> None:
    """Raise UserError if `facts` of the processes, by rank, differ in anything but the host."""
    first = facts[0]
    wrong = [f"rank {rank} on {each[HOST]} has {', '.join(differing)}" for rank, each in enumerate(facts)
             if (differing := [f"{name} {each.get(name)} instead of {value}" for name, value in first.items()
                               if name != HOST and each.get(name) != value])]
    if wrong:
        raise UserError(f"The processes of this run differ: {'; '.join(wrong)}",
                        where=f"rank 0 on {first[HOST]}", expected="the same for every process",
                        do="install the same version and copy the same configuration to every machine")
