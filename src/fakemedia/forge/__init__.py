"""The forge: fake-media tasks of known families, made from any folder of real photographs."""

from fakemedia.forge.photographs import PACKAGED
from fakemedia.forge.tasks import ForgeConfig, families, forge, is_forged

__all__ = ["PACKAGED", "ForgeConfig", "families", "forge", "is_forged"]
