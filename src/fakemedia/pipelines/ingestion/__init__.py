"""From folders of pictures to pixel stores."""

from fakemedia.pipelines.ingestion.pipeline import create_pipeline, gather_splits

__all__ = ["create_pipeline", "gather_splits"]
