"""Several processes that run the same pipeline, one per device: started by torchrun, or by `kedro run` itself."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from fakemedia.core.errors import UserError
from fakemedia.core.invocation import program
from fakemedia.runtime import signals
from fakemedia.runtime.threads import cores


class Wanted(UserError):
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
    """Replace this process by `devices` ones that run the same command."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // devices)))
    launcher = [sys.executable, "-m", __name__, "--standalone", f"--nproc_per_node={devices}"]
    os.execv(sys.executable, [*launcher, "-m", program(), *sys.argv[1:]])


def hush() -> None:
    """Silence the output of all ranks but 0."""
    if number() > 0:
        import logging

        os.environ["TQDM_DISABLE"] = "1"
        logging.disable(logging.WARNING)


def _launch() -> None:
    """Do what torchrun does, but let the processes report why they ended."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main(sys.argv[1:])
    except SignalException:
        sys.exit(signals.STATUS)
    except ChildFailedError as error:
        sys.exit(next(iter(error.failures.values())).exitcode)


if __name__ == "__main__":
    _launch()
