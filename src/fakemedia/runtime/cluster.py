"""Clusters of machines: the only module that imports Ray."""

from __future__ import annotations

import logging
import os
import platform
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fakemedia.core.errors import UserError
from fakemedia.core.extras import PACKAGE, install
from fakemedia.core.hashing import fingerprint
from fakemedia.runtime.threads import cores, use_cores

T = TypeVar("T")
R = TypeVar("R")
NONE, LOCAL = "none", "local"
CLIENT = "ray://"
OBJECT_STORE_BYTES = 2**28
"""Bytes of shared memory that a cluster on this machine takes for results in memory; more goes to the disk."""
COMPARED_PACKAGES = ("torch", "numpy", "ray")
"""Packages whose versions the workers share with the command."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where the nodes of a run are computed: in the command itself, or by the workers of a Ray cluster."""

    address: str = NONE
    """`none`: in the command; `local`: a cluster of this machine, made for the run; `auto`: the cluster that it
    belongs to; `host:port`; `ray://host:port`: from a machine outside the cluster (needs `ray[client]`)."""
    workers: int = 0
    """Nodes at once in a `local` cluster; 0: as many as the cores allow."""
    cores: int = 1
    """Processor cores of each node. Results on a CPU are the same as those of a run with as many threads."""
    gpus: float = 1.0
    """GPUs of each node that computes with a network, where the cluster has any; a fraction lets several share one."""
    retries: int = 2
    """How often a node is started again after its worker was lost; training resumes from the last saved state."""
    patience: float = 10.0
    """Seconds to wait for a cluster that does not answer."""

    def __post_init__(self) -> None:
        if self.workers < 0 or self.cores < 1 or self.gpus < 0 or self.retries < 0 or not self.patience > 0:
            raise ValueError("cores of at least 1, patience above 0, and no negative number")


class Cluster:
    """A cluster that is connected, and computes calls of one function."""

    def __init__(self, config: ClusterConfig, function: Callable) -> None:
        self._config, self._ray = config, _ray()
        self._function = self._ray.remote(function)
        self._has_gpus = self._ray.cluster_resources().get("GPU", 0) > 0

    def put(self, value: Any) -> Any:
        """Return a reference to `value`, held in the cluster's memory while the reference lives."""
        return self._ray.put(value)

    def submit(self, *arguments: Any, gpu: bool) -> Any:
        """Return a reference to the result of the function, called by a worker; references in `arguments` are resolved.

        `gpu`: whether the call uses a GPU where the cluster has one.
        """
        gpus = self._config.gpus if gpu and self._has_gpus else 0
        return self._function.options(num_cpus=self._config.cores, num_gpus=gpus,
                                      max_retries=self._config.retries).remote(*arguments)

    def map_unordered(self, calls: Iterable[tuple[Any, ...]], *, gpu: bool, what: Callable[..., str]) -> Iterator[Any]:
        """Yield the results of the function for the arguments `calls`, in the order of completion; a few calls are
        submitted ahead.

        `what` names what a call computes.
        """
        remaining_calls, running = iter(calls), dict[Any, tuple[Any, ...]]()
        limit = 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1) // self._config.cores))
        while True:
            for call in islice(remaining_calls, limit - len(running)):
                running[self.submit(*call, gpu=gpu)] = call
            if not running:
                return
            reference = self.first_done(list(running))
            yield self.result(reference, what(*running.pop(reference)))

    def first_done(self, references: Sequence[Any]) -> Any:
        """Wait until one of `references` is done, and return it."""
        done, _ = self._ray.wait(list(references), num_returns=1)
        return done[0]

    def result(self, reference: Any, what: str) -> Any:
        """Return the result; UserError if the worker that computed `what` was lost, once and at every retry."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except self._ray.exceptions.RayError as error:
            raise UserError(f"The worker was lost that computed {what}, {self._config.retries + 1} times "
                            f"({type(error).__name__})", where=f"cluster.address: {self._config.address}",
                            expected="enough memory on each machine for its workers, and machines that stay",
                            do="the same command resumes; finished results are kept") from error

    def check(self, folder: Path, *, reads: Sequence[Path] = ()) -> None:
        """Raise UserError unless every machine has the code of this command, reads and writes its `folder`, and sees
        the files and folders `reads`."""
        machines = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        largest = max((node["Resources"]["CPU"] for node in machines), default=0)
        if largest < self._config.cores:
            raise UserError(f"No machine of the cluster has {self._config.cores} processor cores",
                            where="cluster.cores", expected=f"at most {largest:g}")
        token = folder / f".cluster-{secrets.token_hex(8)}"
        token.write_text(token.name, encoding="utf-8")
        try:
            machine_facts = [(node["NodeManagerHostname"], self._facts_of(node, token, reads)) for node in machines]
        finally:
            token.unlink()
        local_facts = facts(str(token), reads, written=True)
        mismatches = [f"{host}: {differences}" for host, worker_facts in machine_facts
                      if (differences := ", ".join(_differences(local_facts, worker_facts)))]
        if mismatches:
            raise UserError(f"Workers cannot take part: {'; '.join(mismatches)}",
                            where=f"cluster.address: {self._config.address}", expected="the same code and packages on "
                            f"every machine, and the folder {folder}, readable and writable under this path",
                            do="install the same version there, or mount the folder; see docs/how-to/cluster.md")

    def _facts_of(self, machine: dict[str, Any], token: Path, reads: Sequence[Path]) -> dict[str, str]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_machine = NodeAffinitySchedulingStrategy(machine["NodeID"], soft=False)
        call = self._ray.remote(facts).options(num_cpus=0, max_retries=0, scheduling_strategy=on_machine)
        try:
            return self._ray.get(call.remote(str(token), reads), timeout=6 * self._config.patience)
        except self._ray.exceptions.GetTimeoutError:
            return {"answer": f"none within {6 * self._config.patience:g} s"}
        except self._ray.exceptions.RayError as error:
            return {"answer": str(error).strip().splitlines()[-1]}


@contextmanager
def connected(config: ClusterConfig, function: Callable) -> Iterator[Cluster]:
    """Yield the cluster of `config` for calls of `function`; an existing connection is used, and stays open.

    Leaving ends the calls that still run: their workers get SIGTERM, and a stage in training saves its state. Ray's own
    cancellation is not used, because it aborts the process where a call ends at the same moment (ray issue 54846).
    UserError without Ray, and within about `patience` seconds if the cluster does not answer.
    """
    ray = _ray()
    if ray.is_initialized():
        yield Cluster(config, function)
        return
    _check_address(config)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"num_cpus": config.cores * (config.workers or max(1, cores() // config.cores)),
             "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    previous_handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=False,
                 address=config.address, **(local if config.address == LOCAL else {}))
    except Exception as error:
        raise _unreachable(config, str(error).strip().partition("\n")[0]) from error
    try:
        with suppress(ValueError):  # Ray sets a handler of its own; only the main thread may put ours back.
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
        yield Cluster(config, function)
    finally:
        ray.shutdown()


def is_connected() -> bool:
    """Return whether this process is connected to a cluster: as one of its workers, or as the command."""
    return "ray" in sys.modules and _ray().is_initialized()


def spread(config: ClusterConfig, what: str, function: Callable[[T], R], jobs: Iterable[T]) -> Iterator[R]:
    """Yield `function` of each of `jobs` in the order of completion, computed by workers of the cluster that this
    process is connected to; a worker that waits for them gives up its cores meanwhile. `what` names a job."""
    cluster = Cluster(config, call)
    function_reference = cluster.put((function, config.cores))
    yield from cluster.map_unordered(((function_reference, job) for job in jobs), gpu=False, what=lambda *_: what)


def call(function_and_cores: tuple[Callable[[T], R], int], job: T) -> R:
    """Call a function with a job on a worker; the tuple is the function and the worker's number of cores."""
    function, count = function_and_cores
    use_cores(count)
    return function(job)


def facts(token: str, reads: Sequence[Path] = (), *, written: bool = False) -> dict[str, str]:
    """Return what must be equal on all machines: code, versions, whether they see the folder of the file `token`, and
    the files and folders `reads`.

    `written`: this process wrote the file, which is removed already.
    """
    versions = {name: _version(name) for name in COMPARED_PACKAGES}
    return {"code of fakemedia": code_fingerprint(PACKAGE), "Python": platform.python_version(), **versions,
            "the folder": "is there" if written else _access(Path(token)),
            **{str(path): "is there" if os.access(path, os.R_OK) else "is not there" for path in reads}}


def code_fingerprint(package: Path) -> str:
    """Return a short hash of all Python files of `package`."""
    return fingerprint({str(path.relative_to(package)): path.read_text(encoding="utf-8")
                        for path in sorted(package.rglob("*.py"))})[:12]


def _access(token: Path) -> str:
    probe = token.with_name(f"{token.name}-{secrets.token_hex(4)}")
    try:
        if token.read_text(encoding="utf-8") != token.name:
            return "is another one"
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    return "is there"


def _differences(expected: dict[str, str], actual: dict[str, str]) -> Iterator[str]:
    if "answer" in actual:
        yield f"no answer ({actual['answer']})"
        return
    for name, value in expected.items():
        if actual[name] != value:
            yield f"{name} {actual[name]}" if value == "is there" else f"{name} {actual[name]} instead of {value}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _check_address(config: ClusterConfig) -> None:
    """Raise UserError for an invalid address, and for a machine that does not listen there."""
    if config.address in (LOCAL, "auto"):
        return
    host, _, port = config.address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{config.address!r} is not the address of a cluster", where="cluster.address",
                        expected="local, auto, host:port or ray://host:port, such as head:6379 or ray://head:10001")
    try:
        socket.create_connection((host, int(port)), timeout=config.patience).close()
    except OSError as error:
        raise _unreachable(config, str(error)) from error


def _unreachable(config: ClusterConfig, reason: str) -> UserError:
    return UserError(f"The cluster cannot be reached ({reason})", where=f"cluster.address: {config.address}",
                     expected="a Ray cluster that runs, with the version of Ray that is installed here",
                     do="start one with: ray start --head; or compute on this machine: cluster.address=local")


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise UserError("Clusters need Ray, which is not installed", where="cluster.address",
                        do=f"{install('cluster')}, or run without a cluster: cluster.address=none") from None
    return ray
