"""Clusters that cannot be used: one message, soon."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from fakemedia.core.errors import UserError
from fakemedia.runtime import cluster, threads
from fakemedia.runtime.cluster import Cluster, ClusterConfig, code_fingerprint, connected


def connect(address: str) -> None:
    with connected(ClusterConfig(address=address, patience=2.0), print):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"(?s)Ray, which is not installed.*\[cluster\].*cluster.address=none"):
        connect("local")


@pytest.mark.parametrize("address", ["somewhere", "head:", "ray://head", ":1"])
def test_an_address_that_is_none(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="is not the address of a cluster"):
        connect(address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_machine_that_does_not_listen_is_named_in_seconds(scheme: str) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    begun = time.monotonic()
    with pytest.raises(UserError, match=f"(?s)cannot be reached.*{address}.*ray start --head"):
        connect(address)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("settings", [{"cores": 0}, {"workers": -1}, {"gpus": -0.5}, {"retries": -1}, {"patience": 0}])
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="cores of at least 1"):
        ClusterConfig(**settings)


def test_the_code_is_told_apart_by_any_change(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("A = 1\n")
    first = code_fingerprint(tmp_path)
    assert code_fingerprint(tmp_path) == first
    (tmp_path / "module.py").write_text("A = 2\n")
    assert code_fingerprint(tmp_path) != first


def test_what_a_worker_lacks_is_named(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token")
    own = cluster.facts(str(token))
    assert list(cluster._differences(own, cluster.facts(str(token)))) == []
    assert list(tmp_path.iterdir()) == [token]
    assert list(cluster._differences(own, {**own, "torch": "1.0"})) == [f"torch 1.0 instead of {own['torch']}"]
    elsewhere = cluster.facts(str(tmp_path / "elsewhere" / "token"))
    assert list(cluster._differences(own, elsewhere)) == ["the folder is not there"]
    token.write_text("another")
    assert list(cluster._differences(own, cluster.facts(str(token)))) == ["the folder is another one"]


def test_a_worker_uses_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.CORES, "3")
    assert threads.cores() == 3


@pytest.mark.slow
def test_machines_that_cannot_take_part_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    before = signal.getsignal(signal.SIGTERM)
    with connected(ClusterConfig(address="local", workers=1), code_fingerprint) as made:
        assert signal.getsignal(signal.SIGTERM) == before
        made.check(tmp_path)
        assert not list(tmp_path.iterdir())
        with pytest.raises(UserError, match=r"(?s)No machine of the cluster has 99.*cluster.cores"):
            Cluster(ClusterConfig(cores=99), code_fingerprint).check(tmp_path)
        monkeypatch.setattr(cluster, "code_fingerprint", lambda _: "another")
        with pytest.raises(UserError, match=r"Workers cannot take part: .*: code of fakemedia \w+ instead of another"):
            made.check(tmp_path)
