"""A detector as one ONNX file: uint8 pictures in, logits out, and all that scoring needs to know inside."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fakemedia.artefacts.files import write_file
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.scoring.model import ONNX, Facts, open_checkpoint
from fakemedia.scoring.paths import check_file

if TYPE_CHECKING:
    from fakemedia.networks.checkpoint import Checkpoint

KEY = "fakemedia"
"""Of the facts, as JSON, in the file's metadata."""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def export(folder: Path, out: Path) -> Facts:
    """Write the checkpoint in `folder` as the ONNX file `out`, whole or not at all; return its facts.

    Input `images`: uint8 (N, crop, crop, 3), RGB, any N; output `logit`: float32 (N,), z_fake - z_real. Normalisation
    is inside. UserError if the extra is not installed, or `out` cannot be written or does not end in .onnx.
    """
    _need("onnx", "onnxscript")
    if out.suffix != ONNX:
        raise UserError("The file's name says another format", where=out, expected=f"a name that ends in {ONNX}")
    check_file(out)
    checkpoint, facts = open_checkpoint(folder)
    program = _traced(checkpoint, facts.crop)
    program.model.metadata_props[KEY] = json.dumps(asdict(facts))
    write_file(out, program.model_proto.SerializeToString())
    return facts


class OnnxModel:
    """The network in an ONNX file, in float32 by onnxruntime: on the GPU if that one is built for it."""

    def __init__(self, path: Path) -> None:
        """Read the file; UserError if it is not there, damaged, or not of `export`."""
        _need("onnxruntime")
        import onnxruntime

        providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
        if not path.is_file():
            raise UserError("There is no ONNX file", where=path, do="make one with: kedro export CHECKPOINT --out ...")
        try:
            self._session = onnxruntime.InferenceSession(path, providers=providers)
        except Exception as error:  # its errors share no class
            raise UserError(f"The ONNX file cannot be read ({error})", where=path, do="export it anew") from None
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if text is None:
            raise UserError("The ONNX file does not say how pictures are prepared for it", where=path,
                            expected="a file of kedro export")
        self.facts: Facts = plugin.configure(Facts, json.loads(text), where=path)

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return z_fake - z_real of RGB crops, uint8 (N, crop, crop, 3): float64 (N,)."""
        logits, = self._session.run(["logit"], {"images": crops})
        return np.asarray(logits, np.float64)


def _traced(checkpoint: Checkpoint, crop: int) -> Any:
    import torch
    from torch import Tensor, nn

    from fakemedia.learning.sequence import restore_network

    class Scorer(nn.Module):
        """From uint8 pictures (N, H, W, 3) to z_fake - z_real (N,)."""

        def __init__(self) -> None:
            super().__init__()
            self.network = restore_network(checkpoint)

        def forward(self, images: Tensor) -> Tensor:
            real, fake = self.network(self.network.prepare(images.permute(0, 3, 1, 2))).unbind(1)
            return fake - real

    example = torch.zeros(2, crop, crop, 3, dtype=torch.uint8)
    return torch.onnx.export(Scorer().eval(), (example,), dynamo=True, verbose=False, input_names=["images"],
                             output_names=["logit"], dynamic_shapes={"images": {0: torch.export.Dim("N")}})


def _need(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(f"ONNX needs the packages {', '.join(missing)}, which are not installed", where=ONNX,
                        do="pip install 'fakemedia[onnx]'")
