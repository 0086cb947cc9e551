"""ResNet-50 (He et al. 2016), timm's `resnet50.tv_in1k`."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.networks.detector import Detector, timm_detector


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the weights come from."""

    pretrained: str = "imagenet"
    """"imagenet", "none", or the path of a weights file or checkpoint folder."""


def build(config: Config, seed: int) -> Detector:
    """Return the network; UserError if its weights cannot be had (see `timm_detector`)."""
    return timm_detector("resnet50.tv_in1k", config.pretrained, seed)
