"""Facts that must be equal in all processes of a run: code, versions, configuration."""

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
    reference = facts[0]
    mismatches = [f"rank {rank} on {peer[HOST]} has {', '.join(differences)}" for rank, peer in enumerate(facts)
                  if (differences := [f"{name} {peer.get(name)} instead of {value}" for name, value in reference.items()
                                      if name != HOST and peer.get(name) != value])]
    if mismatches:
        raise UserError(f"The processes of this run differ: {'; '.join(mismatches)}",
                        where=f"rank 0 on {reference[HOST]}", expected="the same for every process",
                        do="install the same version and copy the same configuration to every machine")
