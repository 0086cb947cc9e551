"""The log of scored pictures: bounded, and a full disk does not stop the service."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakemedia.core.errors import UserError
from fakemedia.serving import log
from fakemedia.serving.log import Row, ScoreLog, packed, read_log

ROW = Row(time=1.0, version=1, detector="d", source="", sha256="s", bytes=1, codec="png", mode="RGB", quality=0,
          width=1, height=1, crops=1, seen=1.0, logit=0.5, p_fake=0.6, verdict="fake", novelty=None,
          embedding=packed(np.array([1.0, 70000.0])))


def test_the_oldest_rows_are_removed(tmp_path: Path) -> None:
    written = ScoreLog(tmp_path / "log.db", rows=10)
    written.add(replace(ROW, time=float(number)) for number in range(25))
    written.close()
    table = read_log(tmp_path / "log.db")
    assert table["time"].tolist() == list(range(15, 25))
    assert table["embedding"].iloc[0].tolist() == [1.0, 65504.0]
    again = ScoreLog(tmp_path / "log.db", rows=10)
    again.add([replace(ROW, time=99.0)])
    again.close()
    assert read_log(tmp_path / "log.db", since=24.0, until=100.0)["time"].tolist() == [24.0, 99.0]


def test_rows_wait_while_the_database_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(log, "MAX_WAITING_ROWS", 5)
    written = ScoreLog(tmp_path / "log.db", rows=100)

    def full(self: ScoreLog) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ScoreLog, "_connect", full)
        for number in range(8):
            written.add([replace(ROW, time=float(number))])
        time.sleep(0.1)
        assert written.lost == 3
    written.close()
    assert read_log(tmp_path / "log.db")["time"].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]


def test_a_log_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log of scored pictures"):
        read_log(tmp_path / "log.db")
    (tmp_path / "log.db").write_text("no database at all, but longer than a header of one hundred bytes" * 9)
    with pytest.raises(UserError, match="cannot be read"):
        read_log(tmp_path / "log.db")
    with pytest.raises(UserError, match="log cannot be written"):
        ScoreLog(tmp_path / "log.db", rows=1)
