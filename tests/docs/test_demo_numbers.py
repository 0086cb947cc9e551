"""The demo's numbers: taken from a finished run, and the same in every page."""

from __future__ import annotations

import re
import sys
from math import nan
from pathlib import Path

import pytest

from fakemedia.core.errors import UserError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))
import demo_numbers  # noqa: E402

ROWS = {(1, "replay", "aa"): (88.6, 66.2, 96.94), (1, "replay", "forgetting"): (5.5, -0.8, 11.8),
        (1, "replay", "c_auc"): (0.968, 0.762, 0.997), (1, "joint", "aa"): (96.4, 87.6, 99.0),
        (1, "joint", "forgetting"): (nan, nan, nan), (1, "joint", "c_auc"): (nan, nan, nan)}


@pytest.mark.parametrize("page", demo_numbers.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_the_numbers_of_the_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert demo_numbers.filled(text, demo_numbers.read()) == text, "make docs-numbers"
    assert text.count("<!-- demo ") == text.count("<!-- /demo -->") + text.count("<!-- / -->")
    assert not re.search(r"^ *<!-- demo \d", text, re.MULTILINE), "at the start of a line it would end the paragraph"


def test_the_pages_hold_numbers() -> None:
    holding = {page.name for page in demo_numbers.pages() if "<!-- demo " in page.read_text(encoding="utf-8")}
    assert holding >= {"README.md", "tutorial.md", "demo.md"}


def test_tables_and_sentences_are_written() -> None:
    page = ("Replay: <!-- demo 1 replay aa -->0<!-- / --> %.\n\n<!-- demo table 1 -->\nold\n<!-- /demo -->\n\n"
            "<!-- demo console 1 -->\nold\n<!-- /demo -->\n")
    text = demo_numbers.filled(page, ROWS)
    assert "Replay: <!-- demo 1 replay aa -->88.6<!-- / --> %." in text
    assert "\n| replay | 88.6 [66.2, 96.9] | 5.5 [-0.8, 11.8] | 0.968 [0.762, 0.997] |\n" in text
    assert "\nreplay  88.6 [66.2, 96.9]     5.5 [-0.8, 11.8]     0.968 [0.762, 0.997]\n" in text
    assert text.count("old") == 0
    assert demo_numbers.filled(text, ROWS) == text


def test_a_number_that_was_not_measured_is_refused() -> None:
    with pytest.raises(UserError, match="No aa of kd with 3 seed"):
        demo_numbers.filled("<!-- demo 3 kd aa -->1<!-- / -->", ROWS)


def test_numbers_of_a_run_are_taken(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "metrics.csv").write_text(
        "method,seed,aa\nridge,0,90\nridge,1,90\nridge,2,90\nreplay,0,88\nreplay,1,89\n")
    (tmp_path / "tables" / "summary.csv").write_text(
        "method,metric,mean,low,high,best\nreplay,aa,88.5,66.2,96.9,True\nreplay,fwt,1,1,1,False\njoint,forgetting,,,,\n")
    (tmp_path / "tables" / "costs.csv").write_text("method,metric,mean,low,high\nreplay,seconds,30,29,31\n")
    rows = demo_numbers.taken(tmp_path)
    assert list(rows) == [(2, "replay", "aa"), (2, "joint", "forgetting"), (2, "replay", "seconds")]
    demo_numbers.save(rows, tmp_path / "demo.csv")
    assert str(demo_numbers.read(tmp_path / "demo.csv")) == str(rows)
    with pytest.raises(UserError, match="No finished run"):
        demo_numbers.taken(tmp_path / "tables")
