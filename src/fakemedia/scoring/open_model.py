"""Open a detector for scoring: a checkpoint folder, a detector folder or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.scoring.checkpoint_model import CheckpointModel, open_checkpoint
from fakemedia.scoring.detector_folder import is_detector, open_detector
from fakemedia.scoring.model import Model
from fakemedia.scoring.onnx_model import SUFFIX, OnnxModel

if TYPE_CHECKING:
    from fakemedia.runtime.device import Runtime


def open_model(path: Path, runtime: Callable[[], Runtime]) -> Model:
    """Return the model at `path`: a checkpoint or detector folder, which computes by `runtime`, or an ONNX file.

    UserError if there is none, or it is damaged.
    """
    if path.suffix == SUFFIX:
        return OnnxModel(path)
    checkpoint, facts = (open_detector if is_detector(path) else open_checkpoint)(path)
    return CheckpointModel(checkpoint, facts, runtime())
