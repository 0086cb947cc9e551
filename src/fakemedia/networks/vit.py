"""Vision transformer, small with 16-pixel patches (Dosovitskiy et al. 2021), timm's `vit_small_patch16_224`."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.networks.detector import Detector, timm_detector

SALIENCY = "input_gradient"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the weights come from."""

    pretrained: str = "imagenet"
    """"imagenet", "none", or the path of a weights file or checkpoint folder."""


def build(config: Config, seed: int) -> Detector:
    """Return the network; UserError if its weights cannot be had (see `timm_detector`).

    Its weights are those of 224-pixel crops; for others the position embedding is interpolated in the forward pass,
    and sides that are no multiple of 16 are padded.
    """
    return timm_detector("vit_small_patch16_224.augreg_in21k_ft_in1k", config.pretrained, seed,
                         dynamic_img_size=True, dynamic_img_pad=True)
