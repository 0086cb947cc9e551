"""What scoring needs of a detector in any format: its facts and its logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fakemedia.evaluation.calibration import Calibration


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a detector that scoring needs."""

    network: str
    tasks: tuple[str, ...]
    """The tasks it has learned."""
    crop: int
    """Side of the square crops that it sees, pixels."""
    policy: str
    """How its training pictures were stored; see `fakemedia.store.policies`."""
    fingerprint: str
    """Fingerprint of what the checkpoint was made from."""
    calibration: Calibration | None
    """From logits to P(fake) and verdicts; None: the checkpoint is not calibrated."""
    weights_sha256: str = ""
    """SHA-256 of the checkpoint's weights; empty in ONNX files of earlier versions."""


class Model(Protocol):
    """A detector that computes logits."""

    facts: Facts

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return z_fake - z_real of RGB crops, uint8 (N, crop, crop, 3): float64 (N,)."""
        ...
