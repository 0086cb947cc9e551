"""The forge: fake-media tasks of known families, made out of any folder of real photographs."""

from fakemedia.data.forge.tasks import ForgeConfig, families, forge

__all__ = ["ForgeConfig", "families", "forge"]
