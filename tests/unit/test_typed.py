"""Commands in messages begin with the program that the user started."""

from __future__ import annotations

import sys

import pytest

from fakemedia.cli.typed import as_typed
from fakemedia.core.invocation import program
from fakemedia.runtime.signals import message


@pytest.mark.parametrize(("started", "expected"), [
    ("/opt/bin/kedro", "kedro"), ("/opt/kedro/__main__.py", "kedro"), ("/opt/bin/pytest", "kedro"), ("", "kedro"),
    ("/opt/bin/fakemedia", "fakemedia"), ("C:/bin/fakemedia.exe", "fakemedia"),
    ("/src/fakemedia/__main__.py", "fakemedia"),
    ("/home/fakemedia/train.py", "kedro"),
])
def test_the_program_that_was_started(monkeypatch: pytest.MonkeyPatch, started: str, expected: str) -> None:
    monkeypatch.setattr(sys, "argv", [started, "run", "--tags", "kd"])
    assert program() == expected
    assert message().endswith(f"same command: {expected} run --tags kd")
    assert as_typed("see kedro registry describe, `kedro run`, then: kedro unlearn A. Kedro itself; kedro runs") == (
        f"see kedro registry describe, `{expected} run`, then: {expected} unlearn A. Kedro itself; kedro runs")
