"""The small project of the pipeline tests."""

from tests.pipeline.conftest import no_session, project  # noqa: F401
