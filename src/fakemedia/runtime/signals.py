"""Ctrl-C and SIGTERM: a command ends soon, with one message, and can be repeated."""

from __future__ import annotations

import multiprocessing
import os
import select
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fakemedia.core.invocation import program

COMMAND = "FAKEMEDIA_COMMAND"
"""Environment variable of the processes of a run that a command started: the command."""
STATUS = 130
"""Exit status of a command that was stopped."""
GRACE = {signal.SIGINT: 1.5, signal.SIGTERM: 20.0}
"""Seconds to save the current state; a cluster waits longer than a user."""


_watching = False


@contextmanager
def watched() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt in the block, and end the process if that takes too long.

    After GRACE, or at a second Ctrl-C, the process ends immediately. Every file is written under a temporary name and
    renamed, so only what was not saved yet is lost. Ignored signals, such as Ctrl-C in the background, stay ignored.
    Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _watching
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    previous_handlers = {number: signal.signal(number, signal.default_int_handler) for number in GRACE
                         if signal.getsignal(number) != signal.SIG_IGN}
    previous_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader,), daemon=True, name="stopping")
    watcher.start()
    _watching = True
    try:
        yield
    finally:
        _watching = False
        signal.set_wakeup_fd(previous_descriptor)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        writer.close()
        watcher.join()
        reader.close()


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Let the signals wait inside the block: yield a function that returns whether one arrived.

    A signal that arrived raises KeyboardInterrupt at the end of the block. Outside the main thread, where Python
    delivers no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    arrived: list[int] = []
    previous_handlers = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in GRACE
                         if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


def message(*, stopped: bool = True) -> str:
    """Return the message for a command that was stopped, or whose processes were killed."""
    command = os.environ.get(COMMAND) or command_line()
    return (f"{'Stopped. ' if stopped else ''}Finished results are kept, and the last saved state of a stage in "
            f"training.\n  What to do: resume with the same command: {command}")


def command_line() -> str:
    """Return the command of this process, as a user types it."""
    return f"{program()} {shlex.join(sys.argv[1:])}"


def reports() -> bool:
    """Return whether this process reports that the command was stopped: one of several that it started does not."""
    return int(os.environ.get("RANK", 0)) == 0 and COMMAND not in os.environ


def _watch(reader: socket.socket) -> None:
    """Read the numbers of arriving signals; end the process when one was pending for too long."""
    deadline, interrupts = None, 0
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reader], [], [], timeout)[0]:
            _end()
        numbers = reader.recv(64)
        if not numbers:
            return
        for number in numbers:
            interrupts += number == signal.SIGINT
            if number in GRACE and deadline is None:
                deadline = time.monotonic() + GRACE[signal.Signals(number)]
        if interrupts > 1:
            _end()


def _end() -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    if reports():
        os.write(2, f"\n{message()}\n".encode())
    os._exit(STATUS)


def _restore_default_handlers() -> None:
    """Restore the handlers in a forked process: a signal to a worker is not one to this command."""
    if _watching:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_restore_default_handlers)
