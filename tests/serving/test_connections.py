"""What happens on the wire: connections that wait, and tokens of any bytes."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from fakemedia.serving.server import bound, http_server

SECONDS = 1.0


@pytest.fixture
def serve(service: Callable) -> Iterator[Callable[..., int]]:
    """Return a function that starts a service with other settings than the defaults and returns its port."""
    started = []

    def start(**settings: object) -> int:
        server, listening = http_server(service(**settings)), bound("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        started.append((server, thread))
        return listening.getsockname()[1]

    yield start
    for server, thread in started:
        server.should_exit = True
        thread.join()


def connected(port: int, sent: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(sent)
    return made


def ended(connection: socket.socket) -> bool:
    """Return whether the service closes the connection without an answer."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def alive(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        return answer.read() == b"ok\n"


def test_connections_that_ask_nothing_are_limited_and_closed(serve: Callable[..., int]) -> None:
    port = serve(max_connections=3, seconds=SECONDS)
    idle = [connected(port), connected(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n"),
            connected(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")]
    assert idle[2].recv(1000).startswith(b"HTTP/1.1 200")
    answer = connected(port).recv(1000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"3 connections are open already" in answer
    assert all(ended(each) for each in idle)
    assert alive(port)


def test_headers_that_trickle_do_not_keep_a_connection(serve: Callable[..., int]) -> None:
    port = serve(seconds=SECONDS)
    slow, until = connected(port, b"GET /healthz HTTP/1.1\r\n"), time.monotonic() + 10 * SECONDS
    with pytest.raises(ConnectionError):
        trickle(slow, until)
    assert alive(port)


def trickle(connection: socket.socket, until: float) -> None:
    while time.monotonic() < until:
        connection.sendall(b"X-More: 1\r\n")
        time.sleep(0.05)


def test_a_connection_serves_many_requests(serve: Callable[..., int]) -> None:
    with connected(serve(seconds=SECONDS)) as kept:
        for _ in range(6):
            kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(SECONDS / 4)


@pytest.mark.parametrize("token", [b"caf\xc3\xa9", b"caf\xe9"], ids=["utf-8", "latin-1"])
def test_a_token_is_bytes_and_need_not_be_utf_8(serve: Callable[..., int], token: bytes) -> None:
    port = serve(token=os.fsdecode(token))

    def status(given: bytes) -> bytes:
        with connected(port, b"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + given
                       + b"\r\nContent-Length: 0\r\n\r\n") as asking:
            return asking.recv(1000)[9:12]

    assert [status(given) for given in (b"cafe", b"\xff\xfe", token)] == [b"401", b"401", b"415"]
