"""A real S3-compatible server of this machine, moto's, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

PATIENCE = 60
BUCKET = "runs"


@contextmanager
def s3_server() -> Iterator[str]:
    """Start a server with the empty bucket BUCKET, yield its address, and stop it; skips without its packages.

    The environment then makes every S3 client use it.
    """
    for package in ("moto", "flask", "flask_cors", "s3fs"):
        pytest.importorskip(package, reason="the server for S3 is in the extras dev and storage")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
                   "AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true"}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in credentials.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        try:
            _until_it_answers(server, url)
            _client("s3").create_bucket(Bucket=BUCKET)
            yield url
        finally:
            server.terminate()
            server.wait()


def _until_it_answers(server: subprocess.Popen, url: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        with suppress(OSError):
            urlopen(f"{url}/moto-api/", timeout=PATIENCE).close()
            return
        time.sleep(0.05)
    raise TimeoutError(url)


def keys() -> dict[str, int]:
    """Return the sizes of the objects in the bucket by key."""
    pages = _client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}


def put_folder(folder: Path, prefix: str) -> None:
    """Copy the files below `folder` into the bucket."""
    client = _client("s3")
    for path in folder.rglob("*"):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.relative_to(folder).as_posix()}",
                              Body=path.read_bytes())


@contextmanager
def as_stranger(url: str) -> Iterator[None]:
    """Let the block use the server as a user without any right."""
    iam = _client("iam")
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        _checks_rights_after(url, 0)
        try:
            yield
        finally:
            _checks_rights_after(url, 10**9)


def _checks_rights_after(url: str, requests: int) -> None:
    asked = Request(f"{url}/moto-api/reset-auth", data=str(requests).encode(), headers={"Content-Type": "text/plain"})
    urlopen(asked, timeout=PATIENCE).close()


def _client(service: str):
    import boto3

    return boto3.client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"])
