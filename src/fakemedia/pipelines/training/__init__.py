"""Sequential continual training: a node a stage, and the scores of what it learned."""

from fakemedia.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
