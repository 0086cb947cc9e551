"""The messages of the troubleshooting page are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)


def test_every_message_is_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    code = re.sub(r'"\s+f?"', "", code)  # strings over several lines
    missing = [heading for heading in HEADINGS
               if not re.search(".{1,80}?".join(map(re.escape, heading.split("..."))), code)]
    assert missing == []
    assert len(HEADINGS) >= 20


def test_an_example_is_of_its_heading() -> None:
    examples = re.findall(r"^### (.+)\n\n```text\nError: (.+)$", PAGE, re.MULTILINE)
    assert len(examples) == PAGE.count("```text")
    for heading, message in examples:
        assert re.match(".{1,80}?".join(map(re.escape, heading.split("..."))), message), heading
