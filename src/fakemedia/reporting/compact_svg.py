"""SVG files of matplotlib in half the bytes, which look the same."""

from __future__ import annotations

import re

DECIMALS = 2
"""Of coordinates in points: a hundredth of a point is a seven-thousandth of an inch."""
GRID_REDUCTION = 8
"""Factor by which the grid of letters, 4,096 units high, becomes coarser: at 8 points still 64 steps a point."""
INVISIBLE = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|(?<=<g) id=\"[^\"]*\"", re.DOTALL)
LETTER = re.compile(r'(<path id="[^"]*" d=")([^"]*)(" transform="scale\()0\.015625\)')
COORDINATES = re.compile(r' d="[^"]*"|translate\([^)]*\)| (?:x|y|width|height)="[^"]*"')
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def compact(svg: bytes) -> bytes:
    """Return `svg` without comments, metadata, spaces and names of groups, with coordinates rounded to DECIMALS."""
    text = re.sub(r">\s+<", "><", INVISIBLE.sub("", svg.decode())).replace("<g/>", "").replace("DejaVuSans-", "g")
    text = LETTER.sub(
        lambda match: f"{match[1]}{_rounded(match[2], 0, 1 / GRID_REDUCTION)}{match[3]}{GRID_REDUCTION / 64})", text)
    text = COORDINATES.sub(lambda match: _rounded(match[0], DECIMALS), text)
    text = re.sub(r' d="([^"]*)"', lambda match: f' d="{_path(match[1])}"', text)
    text = re.sub(r'(<use [^>]*) transform="translate\((\S+) 0\)"/>', r'\1 x="\2"/>', text)
    text = re.sub(r'style="([^"]*)"', lambda match: f'style="{match[1].replace("; ", ";").replace(": ", ":")}"', text)
    return text.strip().encode()


def _path(commands: str) -> str:
    """Return the commands of a path, each with its letter before its numbers; horizontal and vertical lines as such."""
    parts, x, y = [], "", ""
    for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", commands):
        to_x, to_y = numbers.split()[-2:] or ("", "")
        short = f"H{to_x}" if to_y == y else f"V{to_y}" if to_x == x else ""
        parts.append(short if letter == "L" and short else letter + " ".join(numbers.split()))
        x, y = to_x, to_y
    return "".join(parts)


def _rounded(text: str, decimals: int, scale: float = 1.0) -> str:
    def short(match: re.Match[str]) -> str:
        value = f"{round(float(match[0]) * scale, decimals) + 0.0:.{decimals}f}"
        return value.rstrip("0").rstrip(".") if decimals else value

    return NUMBER.sub(short, text)
