"""Runs the service: one port, a clean shutdown after SIGTERM."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from fakemedia.core.errors import UserError
from fakemedia.registry.client import Registry
from fakemedia.serving.app import Service, make_app
from fakemedia.serving.connections import bounded_protocol
from fakemedia.serving.counters import Counters
from fakemedia.serving.live_detector import LiveDetector
from fakemedia.serving.log import ScoreLog
from fakemedia.serving.serving_config import ServingConfig


def make_service(registry: Registry, *, alias: str, config: ServingConfig, log: Path | None, token: str) -> Service:
    """Return the service of the version that `alias` names, which is followed; UserError if it cannot serve.

    `log` is the database of scored pictures; None: nothing is logged.
    """
    counters = Counters()
    live = LiveDetector(registry, alias, on_failure=counters.swap_failures.inc, on_swap=counters.swapped)
    service = Service(live=live, config=config, counters=counters, token=token,
                      log=None if log is None else ScoreLog(log, rows=config.log_rows))
    live.follow(config.poll_server_seconds if registry.is_copied else config.poll_seconds)
    return service


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to `host` and `port`; UserError if the port is in use or may not be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror or error})"
        raise UserError(f"Port {port} {reason}", where=f"{host}:{port}", expected="a free port",
                        do="end the other program, or choose another --port") from error
    return listening


def http_server(service: Service) -> uvicorn.Server:
    """Return the server of `service`, which does not run yet."""
    # h11 refuses headers above 64 KiB; httptools, which uvicorn prefers, keeps any number of bytes of them in memory.
    protocol = bounded_protocol(service.config.max_connections, service.config.seconds)
    return uvicorn.Server(uvicorn.Config(
        make_app(service), http=protocol, log_level="warning", access_log=False, lifespan="off", server_header=False,
        timeout_graceful_shutdown=round(service.config.drain_seconds) or 1))


def run(service: Service, listening: socket.socket, echo: Callable[[str], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; then finish those in progress, for at most `drain_seconds`, and stop."""
    server = http_server(service)
    finished = threading.Event()

    def serve() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            finished.set()

    # In its own thread uvicorn leaves signals to the handlers that all commands share. The loop waits for an event
    # because Thread.join, if a signal interrupts it, considers the thread finished.
    threading.Thread(target=serve, name="http", daemon=True).start()
    try:
        while not finished.wait(0.5):
            pass
    except KeyboardInterrupt:
        service.draining = True
        echo(f"Stopping; requests in progress: {service.working}")
        server.should_exit = True
        finished.wait(service.config.drain_seconds + 2)
    finally:
        service.close()
