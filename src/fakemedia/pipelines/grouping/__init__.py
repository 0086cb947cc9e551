"""How similar the tasks of a sequence are."""

from fakemedia.pipelines.grouping.pipeline import create_pipeline

__all__ = ["create_pipeline"]
