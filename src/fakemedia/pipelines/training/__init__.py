"""Sequential continual training: one node for each stage, then its scores."""

from fakemedia.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
