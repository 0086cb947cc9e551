"""The names of timm's architectures, read from its source: `import timm` takes seconds, this milliseconds."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_ENTRY = re.compile(r"^@register_model\ndef (\w+)\(", re.MULTILINE)
_TAG = re.compile(r"\.(\w+)['\"]")


@cache
def _source() -> str:
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise ValueError("the package timm, which is not installed")
    return "\n".join(path.read_text(encoding="utf-8") for path in (Path(spec.origin).parent / "models").glob("*.py"))


@cache
def architectures() -> tuple[str, ...]:
    """Return the names of timm's architectures without tags, sorted; ValueError if timm is not installed."""
    return tuple(sorted(set(_ENTRY.findall(_source()))))


@cache
def _tags() -> frozenset[str]:
    """Return the tags of all architectures, and some other words."""
    return frozenset(_TAG.findall(_source()))


def is_architecture(name: str) -> bool:
    """Return whether `name`, with or without a tag, is an architecture of timm."""
    return name.partition(".")[0] in architectures()


def check_architecture(name: str) -> None:
    """Raise ValueError with the closest match if timm has no architecture `name`, or no tag like that in `name`.

    A tag of another architecture passes: `networks.timm.build` refuses it.
    """
    base, _, tag = name.partition(".")
    if not is_architecture(base):
        close = get_close_matches(base, architectures(), n=1)
        raise ValueError(f"an architecture of timm, which {base!r} is not"
                         + (f"; did you mean {close[0]!r}?" if close else ""))
    if tag and tag not in _tags():
        raise ValueError(f"a tag of timm, which {tag!r} is not; timm.list_models('{base}.*', pretrained=True) "
                         "lists them")
