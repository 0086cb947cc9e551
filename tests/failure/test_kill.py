"""Runs that are killed end as ones that are not: the short form of benchmarks/kill_resume.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"


@pytest.mark.slow
def test_killed_runs_end_identical() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--kills", "3", "--seed", "1", "--json"], capture_output=True,
                          text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout[done.stdout.index("{"):])  # after a line of Kedro's log
    assert (results["kills"], results["identical"]) == (3, 3)
    assert results["files"] >= 9 * 5
