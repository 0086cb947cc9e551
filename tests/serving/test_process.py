"""The service as a process of its own: the port, exchanges under load, and its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from fakemedia.core.errors import UserError
from fakemedia.registry.client import Registry
from fakemedia.serving.log import read_log
from fakemedia.serving.server import bound
from tests.serving.conftest import encoded, picture

PROGRAM = """
import sys
from pathlib import Path
from fakemedia.registry.client import open_registry
from fakemedia.runtime import signals
from fakemedia.serving.server import bound, make_service, run
from fakemedia.serving.serving_config import ServingConfig
with signals.watched():
    folder = Path(sys.argv[1])
    config = ServingConfig(poll_seconds=0.05, drain_seconds=10)
    service = make_service(open_registry("", folder), alias="champion", config=config, log=folder / "log.db", token="")
    listening = bound("127.0.0.1", 0)
    print("port", listening.getsockname()[1], flush=True)
    run(service, listening, print)
print("ended")
"""
BOUNDARY = b"xyzzy"
BODY = b"\r\n".join([
    b"--" + BOUNDARY, b'Content-Disposition: form-data; name="pictures"; filename="a.png"', b"Content-Type: image/png",
    b"", encoded(picture(220)), b"--" + BOUNDARY + b"--", b""])
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}


@pytest.fixture
def process(registry: Registry) -> Iterator[tuple[subprocess.Popen, int]]:
    """Return a running service of the registry and its port."""
    command = [sys.executable, "-c", PROGRAM, str(registry.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as started:
        assert started.stdout is not None
        line = started.stdout.readline()
        found = re.fullmatch(r"port (\d+)\n", line)
        assert found, line + started.stdout.read()
        yield started, int(found[1])
        started.kill()


def scored(port: int) -> int:
    """Return the version that scored a picture."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/score", BODY, HEADERS)
    with urllib.request.urlopen(asked, timeout=30) as response:
        answer = json.load(response)
    assert answer["pictures"][0]["verdict"] == "fake"
    return answer["detector"]["version"]


def test_no_request_is_lost_by_exchanges_and_the_end(process: tuple[subprocess.Popen, int], registry: Registry) -> None:
    started, port = process
    versions: list[int] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                versions.append(scored(port))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in (2, 1, 2, 1, 2):
        registry.set_alias("champion", number)
        _until(lambda number=number: versions[-1:] == [number])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {1, 2} == set(versions)

    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = (f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: {HEADERS['Content-Type']}\r\n"
                f"Content-Length: {len(BODY)}\r\n\r\n").encode()
        connection.sendall(head + BODY[:100])
        time.sleep(0.3)
        started.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(BODY[100:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert started.wait(15) == 0
    assert started.stdout is not None
    assert "requests in progress: 1" in started.stdout.read()
    logged = read_log(registry.folder / "log.db")
    assert len(logged) == len(versions) + 1


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_service_loses_at_most_the_last_second(process: tuple[subprocess.Popen, int],
                                                        registry: Registry) -> None:
    started, port = process
    scored(port)
    time.sleep(1)
    started.kill()
    started.wait()
    assert len(read_log(registry.folder / "log.db")) == 1


def test_headers_without_end_are_refused(process: tuple[subprocess.Popen, int]) -> None:
    _, port = process
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            connection.sendall(bytes([97]) * 2**26)
    assert scored(port) == 1


def test_a_port_in_use_is_one_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UserError, match=r"is in use(?s:.*)--port"):
        bound("127.0.0.1", other.getsockname()[1])
    with pytest.raises(UserError, match="cannot be used"):
        bound("no.such.host.invalid", 80)
