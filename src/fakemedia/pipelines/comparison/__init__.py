"""A sequence against others of the same tasks: did order and grouping matter?"""

from fakemedia.pipelines.comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
