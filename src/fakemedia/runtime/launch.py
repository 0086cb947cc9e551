"""Several processes that run the same pipeline, one per device: started by torchrun, or by `kedro run` itself."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from fakemedia.core.errors import UserError
from fakemedia.core.invocation import program
from fakemedia.runtime import signals
from fakemedia.runtime.threads import cores

REPORT_DELAY = 2.0
"""Seconds that ranks above 0 wait for rank 0 to report an error."""


class RestartRequired(UserError):
    """The run needs more devices than there are processes; `kedro run` restarts itself with `devices` processes."""

    def __init__(self, devices: int) -> None:
        super().__init__(f"The run needs {devices} processes", where="runtime.devices",
                         do=f"start it with kedro run, or with torchrun --nproc_per_node {devices} -m kedro run")
        self.devices = devices


def count() -> int:
    """Return the number of processes that run this pipeline together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def number() -> int:
    """Return the rank of this process, from 0."""
    return int(os.environ.get("RANK", 0))


def restart(devices: int) -> NoReturn:
    """Replace this process by `devices` ones that run the same command, and by one that reports why they ended."""
    os.environ[signals.COMMAND] = signals.command_line()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // devices)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # It warns that find_unused_parameters found none.
    launcher = [sys.executable, "-m", __name__, "--standalone", f"--nproc_per_node={devices}"]
    os.execv(sys.executable, [*launcher, "-m", program(), *sys.argv[1:]])


def silence_other_ranks() -> None:
    """Silence the output of all ranks but 0."""
    if number() > 0:
        os.environ["TQDM_DISABLE"] = "1"
        logging.disable(logging.WARNING)


def wait_for_first_report() -> None:
    """Wait a moment before a rank above 0 reports an error: rank 0 may report the same, and end all processes."""
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:
        time.sleep(REPORT_DELAY)


def lost_peer(error: BaseException | None) -> bool:
    """Return whether `error` was raised because another process ended while this one exchanged tensors with it."""
    while error is not None and count() > 1:
        text = str(error)
        if isinstance(error, RuntimeError) and any(name in text for name in ("gloo", "NCCL", "Connection closed")):
            return True
        error = error.__cause__ or error.__context__
    return False


def killed_message(failures: Mapping[int, Any]) -> str | None:
    """Return the message about the `failures` of processes, by rank; None if no signal ended them."""
    by_signal = {rank: signal.Signals(-failure.exitcode).name for rank, failure in failures.items()
                 if failure.exitcode < 0}
    if not by_signal:
        return None
    causes = {rank: name for rank, name in by_signal.items() if name != "SIGTERM"}  # with which the others are ended
    description = ", ".join(f"rank {rank} by {name}" for rank, name in sorted((causes or by_signal).items()))
    return f"A process of this run was killed: {description}. {signals.message(stopped=False)}"


def _launch() -> None:
    """Run as torchrun does, but let the processes report why they ended."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        main(sys.argv[1:])
    except SignalException:
        sys.stderr.write(f"\n{signals.message()}\n")
        sys.exit(signals.STATUS)
    except ChildFailedError as error:
        text = killed_message(error.failures)
        if text is not None:
            sys.stderr.write(f"\n{text}\n")
        sys.exit(1 if text is not None else next(iter(error.failures.values())).exitcode)


if __name__ == "__main__":
    _launch()
