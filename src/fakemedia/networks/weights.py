"""Weights of a network from files: checkpoints, state dicts of timm, and packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fakemedia.core.errors import UserError
from fakemedia.networks.detector import Detector

WEIGHTS_FILE = "weights.safetensors"


def load_weights(network: Detector, path: Path, *, classifier: str = "head") -> None:
    """Load `path` into `network`: a checkpoint folder of this project, or the state dict of the architecture in `body`.

    A state dict is a safetensors file or one that torch.load reads with weights_only. Its `classifier` becomes the
    head if the shape fits and is ignored otherwise. A checkpoint's correction of the log-odds is left out. Raises
    UserError for a file that is missing, unreadable or of another network; the message names the first tensors that do
    not match.
    """
    state = _read_state(path / WEIGHTS_FILE if path.is_dir() else path)
    network.make_room(state)
    expected = network.state_dict()
    if not any(name.startswith("body.") for name in state):
        state = _as_detector(state, classifier, expected)
    # Counters that only BatchNorm without momentum reads; older files lack them.
    state = {name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")} | dict(state)
    mismatches = [
        f"{name} {_shape(state.get(name))} for {_shape(expected.get(name))}"
        for name in [*expected, *(name for name in state if name not in expected)]
        if _shape(state.get(name)) != _shape(expected.get(name))
    ]
    if mismatches:
        raise UserError(
            "The weights are of another network: " + "; ".join(mismatches[:3]) + f" ({len(mismatches)} tensors differ)",
            where=path, expected=f"{len(expected)} tensors with the names and shapes of the configured network",
            do="give the weights of this network, or name the network that they belong to",
        )
    network.load_state_dict(state)
    network.correction = None


def _read_state(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    expected = "a .safetensors file, a state dict saved by torch, or a checkpoint folder"
    if not path.is_file():
        raise UserError("There are no weights", where=path, expected=expected)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the readers raise many kinds of errors
        raise UserError(f"The weights cannot be read ({str(error).splitlines()[0]})", where=path,
                        expected=expected) from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError("The file holds no state dict", where=path, expected="names with a tensor each")
    return dict(state)


def _as_detector(state: Mapping[str, Tensor], classifier: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    head = {name: state.get(f"{classifier}.{name.removeprefix('head.')}") for name in expected
            if name.startswith("head.")}
    body = {f"body.{name}": tensor for name, tensor in state.items() if not name.startswith(f"{classifier}.")}
    fits = all(_shape(tensor) == _shape(expected[name]) for name, tensor in head.items())
    return body | {name: tensor if fits and tensor is not None else expected[name] for name, tensor in head.items()}


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"
