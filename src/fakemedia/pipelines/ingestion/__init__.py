"""From folders of pictures to pixel stores."""

from fakemedia.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
