"""Why a request is refused: an HTTP status and one message."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not answered with a score: the status, and what to do differently."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
