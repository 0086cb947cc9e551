"""Tables, figures and the report page of a sequence."""

from fakemedia.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
