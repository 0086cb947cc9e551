"""An ONNX file of `kedro export` as a detector that scores pictures: uint8 pictures in, logits and embeddings out."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.extras import install
from fakemedia.scoring.model import Facts, Outputs

SUFFIX = ".onnx"
"""The suffix of a detector's ONNX file."""
KEY = "fakemedia"
"""The key of the file's metadata that holds the facts, as JSON."""
LOGIT, EMBEDDING = "logit", "embedding"
"""The names of the file's outputs."""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxModel:
    """The network in an ONNX file, in float32 by onnxruntime: on the GPU if its build supports that."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Read the file; UserError if it is missing, damaged, or not written by `export`.

        `threads` compute a batch on a CPU; 0: as many as there are cores.
        """
        require_packages("onnxruntime")
        import onnxruntime

        providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
        if not path.is_file():
            raise UserError("There is no ONNX file", where=path, do="make one with: kedro export CHECKPOINT --out ...")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # its errors have no common class
            raise UserError(f"The ONNX file cannot be read ({error})", where=path, do="export it again") from None
        self._outputs = [output.name for output in self._session.get_outputs()]
        try:
            facts = json.loads(self._session.get_modelmeta().custom_metadata_map.get(KEY, ""))
        except ValueError:
            facts = None
        if not isinstance(facts, dict) or LOGIT not in self._outputs:
            raise UserError("The ONNX file lacks the facts of how pictures are prepared", where=path,
                            expected="a file of kedro export")
        self.facts: Facts = plugin.configure(Facts, facts, where=path)

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """Return logits and embeddings of RGB crops, uint8 (N, crop, crop, 3); no embeddings of an earlier file."""
        values = dict(zip(self._outputs, self._session.run(self._outputs, {"images": crops}), strict=True))
        embeddings = np.asarray(values[EMBEDDING], np.float32) if EMBEDDING in values else None
        return Outputs(logits=np.asarray(values[LOGIT], np.float64), embeddings=embeddings)

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return z_fake - z_real of RGB crops, uint8 (N, crop, crop, 3): float64 (N,)."""
        return self.outputs(crops).logits


def require_packages(*packages: str) -> None:
    """Raise UserError unless all `packages` of the extra `onnx` are installed."""
    missing = lacking(*packages)
    if missing:
        raise UserError(f"ONNX needs the packages {', '.join(missing)}, which are not installed", where=SUFFIX,
                        do=install("onnx"))


def lacking(*packages: str) -> list[str]:
    """Return the `packages` that are not installed."""
    return [package for package in packages if find_spec(package) is None]
