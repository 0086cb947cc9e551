"""The gate: a candidate against the champion."""

from fakemedia.pipelines.promotion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
