"""Windows of the log: different pictures of one detector in turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fakemedia.core.errors import UserError
from fakemedia.serving.log import ScoreLog, count_sources, last_detector, read_windows
from tests.serving.test_log import ROW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a log: the detector `d` scored twelve pictures by turns of two sources; then pictures were sent again."""
    place = tmp_path / "log.db"
    rows = [replace(ROW, time=float(number), sha256=f"{number % 12}", source="ab"[number % 2]) for number in range(18)]
    written = ScoreLog(place, rows=1000)
    written.add([replace(ROW, detector="former"), *rows, replace(ROW, logit=None, sha256="even", time=19.0)])
    written.close()
    return place


def test_windows_hold_each_picture_once(path: Path) -> None:
    assert last_detector(path) == "d"
    assert count_sources(path, detector="d") == {"a": 6, "b": 6}
    every = [table["sha256"].tolist() for table in read_windows(path, 5, detector="d")]
    assert every == [[*"01234"], [*"56789"]]
    assert [table["sha256"].tolist() for table in read_windows(path, 3, detector="d", source="b")] == [
        ["1", "3", "5"], ["7", "9", "11"]]
    first = next(read_windows(path, 5, detector="d"))
    assert first["embedding"].iloc[0].tolist() == [1.0, 65504.0]
    after = int(first["id"].iloc[-1])
    assert [table["sha256"].tolist() for table in read_windows(path, 5, detector="d", after=after)] == [[*"56789"]]
    assert next(read_windows(path, 5, detector="d", since=10.0))["sha256"].tolist() == ["10", "11", *"012"]


def test_log_that_is_missing_or_damaged_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log of scored pictures"):
        last_detector(tmp_path / "none.db")
    (tmp_path / "bad.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="cannot be read"):
        next(read_windows(tmp_path / "bad.db", 5, detector="d"))
