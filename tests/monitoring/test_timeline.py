"""Windows and alarms of logs whose pictures change at a known time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fakemedia.monitoring.drift import STATISTICS
from fakemedia.monitoring.monitoring_config import MonitoringConfig
from fakemedia.monitoring.monitoring_page import monitoring_page
from fakemedia.monitoring.timeline import alarms, line, no_reference, no_windows
from fakemedia.pipelines.monitoring.nodes import draw_timeline, judge_windows
from tests.monitoring.streams import write_pictures

CONFIG = MonitoringConfig(window=50, reference=3)
Kept = tuple[pd.DataFrame, pd.DataFrame]
EMPTY = (no_windows(), no_reference())


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw thresholds from fewer windows."""
    monkeypatch.setattr("fakemedia.monitoring.drift.DRAWS", 200)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small windows exceed a threshold by chance as rarely as possible."""
    monkeypatch.setattr("fakemedia.monitoring.drift.LEVELS", dict.fromkeys(STATISTICS, 0.0125))


def judged(log: Path, before: Kept = EMPTY, config: MonitoringConfig = CONFIG) -> Kept:
    return judge_windows(config, log, *before)


def results(windows: pd.DataFrame) -> list[tuple[str, str, int, str, str]]:
    return [(row["scope"], row["source"], row["number"], row["kind"], row["alarm"])
            for row in windows.to_dict("records")]


def test_windows_in_parts_are_those_of_one_run(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    kept = EMPTY
    for first, count, shift in ((0, 120, 0.0), (120, 60, 0.0), (180, 70, 0.0), (250, 55, 2.0), (305, 60, 2.0)):
        write_pictures(log, count, first=first, shift=shift)
        former, kept = kept, judged(log, kept)
    at_once = judged(log)
    pd.testing.assert_frame_equal(kept[0], at_once[0], check_dtype=False)
    pd.testing.assert_frame_equal(kept[1], at_once[1], check_dtype=False)
    assert results(at_once[0])[3:] == [("all", "", number, "judged", alarm) for number, alarm in (
        (4, ""), (5, ""), (6, ""), (7, "mmd ks"))]
    assert len(at_once[1]) == 150
    assert alarms(kept[0], former[0])["number"].tolist() == [7]
    assert line(kept[0].to_dict("records")[-1]).endswith("ALARM: mmd ks")


def test_sources_are_judged_by_themselves(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    write_pictures(log, 400, sources=("desk", "phone"))
    write_pictures(log, 200, sources=("desk",), first=400, shift=2.0)
    write_pictures(log, 10, sources=("rare",), first=600)
    windows = judged(log)[0]
    assert {row[1] for row in results(windows) if row[4]} == {"", "desk"}
    assert {row[1] for row in results(windows)} == {"", "desk", "phone"}


def test_settings_and_detectors_begin_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    write_pictures(log, 250)
    kept = judged(log)
    larger = judged(log, kept, MonitoringConfig(window=100, reference=3))
    assert [row[2:4] for row in results(larger[0])] == [(1, "reference"), (2, "reference")]
    later = judged(log, kept, MonitoringConfig(window=50, reference=3, since="2024-10-04T02:00"))
    assert [row[3] for row in results(later[0])] == ["reference", "reference"], "130 pictures came after two hours"
    write_pictures(log, 100, first=250, detector="next", shift=3.0)
    both = judged(log, kept)[0]
    assert [row[3] for row in results(both)[5:]] == ["reference", "reference"], "another detector, other embeddings"
    assert not alarms(both, kept[0]).size


def test_what_the_log_forgot_is_kept(tmp_path: Path) -> None:
    write_pictures(tmp_path / "old.db", 200)
    kept = judged(tmp_path / "old.db")
    empty = tmp_path / "new.db"
    write_pictures(empty, 0)
    assert results(judged(empty, kept)[0]) == results(kept[0])


def test_page_and_figure(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    write_pictures(log, 300, sources=("<b>desk</b>", ""))
    write_pictures(log, 200, first=300, shift=2.0, sources=("<b>desk</b>", ""))
    windows = judged(log)[0]
    drawn = draw_timeline(windows.loc[windows["scope"] == "all"])
    assert [each.name for each in drawn] == ["timeline_1"]
    page = monitoring_page(windows, drawn, CONFIG)
    assert "&lt;b&gt;desk&lt;/b&gt;" in page
    assert "<b>desk</b>" not in page
    assert page.count("<b>Alarm</b>") == 3
    assert "No window yet" in monitoring_page(no_windows(), [], CONFIG)
    assert draw_timeline(no_windows()) == []


@pytest.mark.parametrize("given", [{"window": 5}, {"reference": 1}, {"since": "soon"}, {"sources": -1}])
def test_settings_out_of_range_are_refused(given: dict) -> None:
    with pytest.raises(ValueError, match=r"window of at least|ISO date"):
        MonitoringConfig(**given)
