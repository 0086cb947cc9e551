"""A checkpoint folder as a detector that scores pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.errors import UserError
from fakemedia.evaluation.calibration import CALIBRATION_FILE, Calibration, read_calibration
from fakemedia.evaluation.novelty import NOVELTY_FILE, Novelty, read_novelty
from fakemedia.scoring.model import Facts, Outputs
from fakemedia.store.policies import NATIVE

if TYPE_CHECKING:
    from fakemedia.networks.checkpoint import Checkpoint
    from fakemedia.runtime.device import Runtime


Companion = TypeVar("Companion", Calibration, Novelty)


class CheckpointModel:
    """The network of a checkpoint, computing as in training."""

    def __init__(self, checkpoint: Checkpoint, facts: Facts, runtime: Runtime) -> None:
        """Put the network on the device of `runtime`."""
        from fakemedia.learning.sequence import restore_network

        self.facts = facts
        self.runtime = runtime
        self.network = runtime.place(restore_network(checkpoint)).eval()

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """Return logits and embeddings of RGB crops, uint8 (N, crop, crop, 3)."""
        from fakemedia.evaluation.predict import logits_and_features, margins

        with self.runtime.reproducible():
            logits, features = logits_and_features(self.network, as_images(crops), autocast=self.runtime.autocast)
            return Outputs(logits=margins(logits), embeddings=features.cpu().numpy())

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return z_fake - z_real of RGB crops, uint8 (N, crop, crop, 3): float64 (N,)."""
        return self.outputs(crops).logits


def open_checkpoint(folder: Path) -> tuple[Checkpoint, Facts]:
    """Return the checkpoint in `folder`, without its method's state, and its facts; UserError if there is none."""
    from fakemedia.networks.checkpoint import META, load

    checkpoint = load(folder, state=False)
    meta = checkpoint.meta
    try:
        facts = Facts(
            network=meta["network"]["name"], tasks=tuple(meta["stage"]["seen"]), crop=meta["training"]["crop"],
            policy=meta.get("policy", NATIVE), fingerprint=meta["fingerprint"],
            weights_sha256=meta["weights_sha256"], decoder=meta.get("decoder", {}),
            faces=meta.get("faces") or None,
            calibration=_if_same_weights(read_calibration(folder / CALIBRATION_FILE), meta["weights_sha256"]),
            novelty=_if_same_weights(read_novelty(folder / NOVELTY_FILE), meta["weights_sha256"]))
    except (KeyError, TypeError) as error:
        raise UserError(f"The checkpoint lacks facts of how it was made ({error!r})", where=folder / META,
                        expected="a checkpoint as this project writes it") from None
    return checkpoint, facts


def as_images(crops: NDArray[np.uint8]) -> Any:
    """Return crops, uint8 (N, H, W, 3), as the tensor (N, 3, H, W) in channels_last memory that networks expect."""
    import torch

    return torch.from_numpy(crops).permute(0, 3, 1, 2)


def _if_same_weights(companion: Companion | None, weights_sha256: str) -> Companion | None:
    """Return the calibration or novelty of these weights; None if it belongs to others."""
    return companion if companion is not None and companion.weights_sha256 == weights_sha256 else None
