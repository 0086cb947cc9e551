"""`kedro monitor` on logs whose pictures change at a known time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakemedia.monitoring.drift import STATISTICS
from tests.monitoring.streams import write_pictures
from tests.pipeline.conftest import bootstrap, change

LOG = "data/09_registry/scores.db"
PAGE = "data/08_reporting/monitoring/monitoring.html"


@pytest.fixture
def monitor(project: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Callable[..., Result]:
    """Return a function that calls `kedro monitor` in the project, with windows of 50 pictures."""
    change(project, {"monitoring": {"window": 50, "reference": 3}})
    monkeypatch.chdir(project)
    monkeypatch.setattr("fakemedia.monitoring.drift.DRAWS", 200)
    monkeypatch.setattr("fakemedia.monitoring.drift.LEVELS", dict.fromkeys(STATISTICS, 0.0125))
    bootstrap()
    from fakemedia.cli import cli

    return lambda *arguments: CliRunner().invoke(cli, ["monitor", *arguments])


def test_alarm_after_a_change(monitor: Callable[..., Result], project: Path) -> None:
    log = project / LOG
    write_pictures(log, 0)
    assert "No new window" in monitor().output
    assert "No window yet" in (project / PAGE).read_text()
    write_pictures(log, 200)
    write_pictures(log, 120, first=200, shift=2.0)
    changed = monitor()
    assert changed.exit_code == 3, changed.output
    assert changed.output.count("  reference") == 3
    assert [line.split("  ")[3] for line in changed.output.splitlines()[3:6]] == ["window 4", "window 5", "window 6"]
    assert changed.output.count("ALARM: mmd ks") == 1
    assert "Alarm</b> in window 6" in (project / PAGE).read_text()
    again = monitor()
    assert "No new window" in again.output
    assert again.exit_code == 3, "the last window still alarms"


def test_bad_input_is_one_message(monitor: Callable[..., Result], project: Path) -> None:
    for arguments, part in (((), "no log of scored pictures"), (("--since", "soon"), "ISO date"),
                            (("--log", str(project / "pyproject.toml")), "cannot be read"),
                            (("--labelled", "out"), "pictures to copy are not named")):
        result = monitor(*arguments)
        assert result.exit_code == 1
        assert part in result.output
        assert "Traceback" not in result.output


def test_no_sequence_has_the_name_of_a_pipeline(project: Path) -> None:
    from fakemedia.context.loading import load_context
    from fakemedia.core.errors import UserError

    context = load_context(conf_source=str(project / "conf"), params={"sequences": {"monitoring": {}}})
    with pytest.raises(UserError, match="'monitoring' cannot be used"):
        context.plan("monitoring")
