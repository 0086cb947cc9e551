"""One more task on top of the champion."""

from fakemedia.pipelines.update.pipeline import create_pipeline

__all__ = ["create_pipeline"]
