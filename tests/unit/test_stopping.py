"""Ctrl-C and SIGTERM end a command with one message; what does not end by itself is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

SCRIPT = """
import signal, sys, time
from fakemedia.runtime import signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
signals.GRACE = {number: float(sys.argv[1]) for number in signals.GRACE}
sys.argv = ["kedro", "run", "--pipelines", "a b"]
try:
    with signals.watched():
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("cleaning", flush=True)
            time.sleep(float({cleaning!r}))
            print("cleaned", flush=True)
except KeyboardInterrupt:
    print(signals.message(), file=sys.stderr)
    sys.exit(signals.STATUS)
"""


def stopped(*numbers: int, grace: float, cleaning: float) -> tuple[list[str], str]:
    """Send the signals in turn to a process that cleans up for so many seconds; return its output and its errors."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.replace("{cleaning!r}", repr(cleaning)), str(grace)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    lines = []
    for number in numbers:
        lines.append(process.stdout.readline().strip())
        process.send_signal(number)
    out, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    return lines + out.split(), errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_one_message(number: int) -> None:
    lines, errors = stopped(number, grace=40, cleaning=0)
    assert lines == ["ready", "cleaning", "cleaned"]
    assert errors.count("Stopped.") == 1
    assert "same command: kedro run --pipelines 'a b'" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGTERM,)])
def test_after_the_grace_it_ends_whatever_it_does(numbers: tuple[int, ...]) -> None:
    lines, errors = stopped(*numbers, grace=0.5, cleaning=60)
    assert "cleaned" not in lines
    assert errors.count("Stopped.") == 1


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    lines, errors = stopped(signal.SIGINT, signal.SIGINT, grace=40, cleaning=60)
    assert lines == ["ready", "cleaning"]
    assert errors.count("Stopped.") == 1


def test_handlers_are_put_back() -> None:
    from fakemedia.runtime import signals

    before = [signal.getsignal(number) for number in signals.GRACE]
    with signals.watched():
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert [signal.getsignal(number) for number in signals.GRACE] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_to_a_worker_is_none_to_the_command() -> None:
    from fakemedia.runtime import signals

    reader, writer = os.pipe()
    with signals.watched():
        worker = os.fork()
        if worker == 0:
            os.write(writer, b"ready")
            time.sleep(60)
            os._exit(0)
        os.read(reader, 5)
        os.kill(worker, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGTERM
        assert [thread.name for thread in threading.enumerate()].count("stopping") == 1
