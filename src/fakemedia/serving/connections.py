"""Limits of the connections to the service: their number, and how long one may wait."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def bounded_protocol(max_connections: int, seconds: float) -> type[H11Protocol]:
    """Return uvicorn's protocol for `max_connections` connections; a further one gets status 503 and is closed.

    A connection without a request in progress is closed after `seconds`, even if data keep arriving. uvicorn itself
    limits only the wait between two requests: neither the wait for the first one nor that for the end of its headers.
    """
    message = json.dumps({"detail": f"{max_connections} connections are open already. Try again in a moment."}).encode()
    refusal = (b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\n"
               b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(message), message))

    class BoundedProtocol(H11Protocol):
        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.wait()
            if len(self.connections) > max_connections:
                transport.write(refusal)
                transport.close()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.wait()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.waiting is not None:
                self.waiting.cancel()

        def wait(self) -> None:
            if self.waiting is not None:
                self.waiting.cancel()
            self.waiting = self.loop.call_later(seconds, self.end_wait)

        def end_wait(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()  # close() would wait for a client that does not read.

    return BoundedProtocol
