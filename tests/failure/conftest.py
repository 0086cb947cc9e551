"""The small project of the pipeline tests."""

from tests.pipeline.conftest import _ingested, ingested, no_session, one_core, project  # noqa: F401
