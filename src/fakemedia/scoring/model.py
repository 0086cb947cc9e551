"""The interface of detectors in any format: facts, and logits and embeddings of crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fakemedia.evaluation.calibration import Calibration
from fakemedia.evaluation.novelty import Novelty
from fakemedia.scoring.crop_layout import CROPS
from fakemedia.store.faces import Detector


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
    decoder: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that decoded its training pictures; empty in checkpoints of earlier versions."""
    faces: Detector | None = None
    """The face detector that cropped its training pictures, and crops the pictures that it scores; None: they were not
    cropped, or an earlier version did not record it."""
    novelty: Novelty | None = None
    """The measure of pictures that are like none of the tasks; None: it was not fitted, as by earlier versions."""
    weights_sha256: str = ""
    """SHA-256 of the checkpoint's weights; empty in ONNX files of earlier versions."""

    @property
    def usual_crops(self) -> int:
        """Crops of a picture that it is scored on by default: the centre alone where validation was better on it."""
        return 1 if self.calibration is not None and self.calibration.several_better is False else CROPS


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The outputs of a detector for N crops in one forward pass."""

    logits: NDArray[np.float64]
    """z_fake - z_real, (N,)."""
    embeddings: NDArray[np.float32] | None
    """The features that the head reads, before any standardisation, (N, D); None from ONNX files of earlier
    versions."""


class Model(Protocol):
    """A detector that computes logits and embeddings."""

    facts: Facts

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """Return logits and embeddings of RGB crops, uint8 (N, crop, crop, 3)."""
        ...

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return z_fake - z_real of RGB crops, uint8 (N, crop, crop, 3): float64 (N,)."""
        ...
