"""Write a checkpoint as one ONNX file, with all facts that scoring needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.scoring.checkpoint_model import open_checkpoint
from fakemedia.scoring.model import Facts
from fakemedia.scoring.onnx_model import EMBEDDING, KEY, LOGIT, SUFFIX, require_packages
from fakemedia.scoring.paths import check_file

if TYPE_CHECKING:
    from fakemedia.networks.checkpoint import Checkpoint


def export(folder: Path, out: Path) -> Facts:
    """Write the checkpoint in `folder` as the ONNX file `out`, atomically; return its facts.

    Input `images`: uint8 (N, crop, crop, 3), RGB, any N. Outputs: `logit`, float32 (N,), z_fake - z_real; `embedding`,
    float32 (N, D), the features that the head reads, before any standardisation. Normalisation is inside.
    UserError if the extra is not installed, or `out` cannot be written or does not end in .onnx.
    """
    require_packages("onnx", "onnxscript")
    if out.suffix != SUFFIX:
        raise UserError("The file's name has another ending", where=out, expected=f"a name that ends in {SUFFIX}")
    check_file(out)
    checkpoint, facts = open_checkpoint(folder)
    program = _traced(checkpoint, facts.crop)
    program.model.metadata_props[KEY] = json.dumps(asdict(facts))
    write_file(out, program.model_proto.SerializeToString())
    return facts


def _traced(checkpoint: Checkpoint, crop: int) -> Any:
    import torch
    from torch import Tensor, nn

    from fakemedia.learning.sequence import restore_network

    class Scorer(nn.Module):
        """From uint8 pictures (N, H, W, 3) to z_fake - z_real (N,) and features (N, D)."""

        def __init__(self) -> None:
            super().__init__()
            self.network = restore_network(checkpoint)

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            features = self.network.features(self.network.prepare(images.permute(0, 3, 1, 2)))
            real, fake = self.network.classify(features).unbind(1)
            return fake - real, features

    example = torch.zeros(2, crop, crop, 3, dtype=torch.uint8)
    return torch.onnx.export(Scorer().eval(), (example,), dynamo=True, verbose=False, input_names=["images"],
                             output_names=[LOGIT, EMBEDDING], dynamic_shapes={"images": {0: torch.export.Dim("N")}})
