"""A detector is a feature extractor with a two-way head; timm provides the known architectures."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive

WEIGHTS_FILE = "weights.safetensors"
CONNECT_TIMEOUT = 10.0  # seconds


class Detector(nn.Module):
    """Tells real (class 0) from fake (class 1) images.

    `body` maps normalised inputs (N, 3, H, W) to pooled features (N, D), `head` those to logits (N, 2).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, width: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        """Wrap `body`, which gives `width` = D features; `mean` and `std` a channel, of intensities in [0, 1]."""
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, 2)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, 3, H, W) normalised to float32, in the same memory format."""
        return images.float().sub_(255 * self.mean).div_(255 * self.std)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features (N, D) of normalised inputs (N, 3, H, W)."""
        return self.body(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, 2) of normalised inputs (N, 3, H, W); the head computes in float32 in any autocast."""
        features = self.features(inputs)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights (on the CPU) from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        yield


def timm_detector(architecture: str, pretrained: str, seed: int, **settings: Any) -> Detector:
    """Return timm's `architecture` (name.tag) as a detector, its weights drawn from `seed` and then `pretrained`.

    `pretrained` is "imagenet" (the weights of the tag, downloaded once), "none", or a path for `load_weights`; the
    head is always new unless the path gives a two-way one. Inputs are normalised as the tag's weights expect.
    Raises UserError if the weights cannot be had or are of another network.
    """
    import timm  # takes seconds to import

    with seeded(seed):
        body: Any
        if pretrained == "imagenet":
            body = _imagenet_body(architecture, settings)
        else:
            body = timm.create_model(architecture, num_classes=0, **settings)
        facts = body.pretrained_cfg
        network = Detector(body, body.num_features, mean=facts["mean"], std=facts["std"])
    if pretrained not in ("imagenet", "none"):
        load_weights(network, Path(pretrained), classifier=facts["classifier"])
    return network


def _imagenet_body(architecture: str, settings: Mapping[str, Any]) -> Any:
    import timm

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT)
    try:
        # From the release address: without a connection the hub client tries again for most of a minute.
        return timm.create_model(architecture, pretrained=True, num_classes=0,
                                 pretrained_cfg_overlay={"hf_hub_id": None}, **settings)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"The ImageNet weights of {architecture} cannot be downloaded ({error})",
            where="network, key 'pretrained'", expected="a network connection, at the first use",
            do=f"give a file: 'pretrained: <path>' with timm's {architecture} weights (.safetensors, or .pth state "
               "dict) or a checkpoint folder of this project; or start untrained: 'pretrained: none'",
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def load_weights(network: Detector, path: Path, *, classifier: str = "head") -> None:
    """Load `path` into `network`: a checkpoint folder of ours, or the state dict of the architecture in `body`.

    A state dict is a safetensors file or one that torch.load reads with weights_only. Its `classifier` becomes the
    head if the shape fits and is left out otherwise. Raises UserError for a file that is missing, unreadable or of
    another network; the message names the first tensors that do not match.
    """
    state = _read_state(path / WEIGHTS_FILE if path.is_dir() else path)
    own = network.state_dict()
    if not any(name.startswith("body.") for name in state):
        state = _as_detector(state, classifier, own)
    # Counters that only BatchNorm without momentum reads; older files lack them.
    state = {name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")} | dict(state)
    wrong = [
        f"{name} {_shape(state.get(name))} for {_shape(own.get(name))}"
        for name in [*own, *(name for name in state if name not in own)]
        if _shape(state.get(name)) != _shape(own.get(name))
    ]
    if wrong:
        raise UserError(
            "The weights are of another network: " + "; ".join(wrong[:3]) + f" ({len(wrong)} tensors differ)",
            where=path, expected=f"{len(own)} tensors with the names and shapes of the configured network",
            do="give the weights of this network, or name the network that they belong to",
        )
    network.load_state_dict(state)


def _read_state(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    expected = "a .safetensors file, a state dict saved by torch, or a checkpoint folder"
    if not path.is_file():
        raise UserError("There are no weights", where=path, expected=expected)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise UserError(f"The weights cannot be read ({str(error).splitlines()[0]})", where=path,
                        expected=expected) from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError("The file holds no state dict", where=path, expected="names with a tensor each")
    return dict(state)


def _as_detector(state: Mapping[str, Tensor], classifier: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    head = {name: state.get(f"{classifier}.{name.removeprefix('head.')}") for name in own if name.startswith("head.")}
    body = {f"body.{name}": tensor for name, tensor in state.items() if not name.startswith(f"{classifier}.")}
    fits = all(_shape(tensor) == _shape(own[name]) for name, tensor in head.items())
    return body | {name: tensor if fits and tensor is not None else own[name] for name, tensor in head.items()}


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"
