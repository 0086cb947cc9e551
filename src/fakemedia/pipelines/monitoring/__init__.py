"""What the log of scored pictures shows: windows, alarms, and the page."""

from fakemedia.pipelines.monitoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
