"""Parts of pages that open by themselves: nothing fetched, readable on a phone and on paper."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np

from fakemedia.reporting.rendering import Drawn

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5b6670; --line: #d9dee3; --tint: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 62rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
p, ul, dl { margin: .5rem 0; } small, .note, figcaption { color: var(--soft); font-size: .85rem; }
nav a { margin-right: .9rem; white-space: nowrap; } a { color: #0060a0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
thead th { border-bottom: 1.5px solid var(--ink); white-space: normal; }
td code { white-space: normal; overflow-wrap: anywhere; } td code span { white-space: nowrap; }
tbody tr:nth-child(even) { background: var(--tint); }
th:first-child, td:first-child { position: sticky; left: 0; background: inherit; } tr { background: #fff; }
td small { display: block; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem; }
figure { margin: 0; break-inside: avoid; } figure img { width: 100%; height: auto; display: block; }
.figures figure.wide { grid-column: 1 / -1; } figure.wide img { min-width: 40rem; }
pre { background: var(--tint); padding: .8rem; overflow-x: auto; font-size: .82rem; border-radius: 4px; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; }
.warning { border-left: 4px solid #D55E00; background: #fdf3ec; padding: .5rem .9rem; margin-top: 1rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } figure.wide img { min-width: 0; } table { font-size: 8pt; }
  th, td { padding: .15rem .3rem; }
  pre { white-space: pre-wrap; } tr { break-inside: avoid; } }
"""

SCRIPT = """
for (const button of document.querySelectorAll("table.sortable th button")) button.onclick = () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const was = head.getAttribute("aria-sort"), falling = was ? was === "ascending" : !head.matches(".text");
  const value = row => { const cell = row.cells[head.cellIndex];
    return "v" in cell.dataset ? (cell.dataset.v === "" ? NaN : +cell.dataset.v) : cell.textContent; };
  const compare = (a, b) => { const x = value(a), y = value(b), sign = falling ? -1 : 1;
    if (typeof x === "string") return sign * x.localeCompare(y, undefined, {numeric: true});
    return isNaN(x) - isNaN(y) || sign * (x - y); };
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...[...body.rows].sort(compare));
};
"""


def document(title: str, *parts: str) -> str:
    """Return a whole page with the style and, for tables that can be sorted, the script inside."""
    return "\n".join([
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        *(part for part in parts if part),
        f"<script>{SCRIPT}</script></body></html>\n",
    ])


def section(title: str, *parts: str) -> str:
    """Return a section with a heading; its address is `anchor(title)`."""
    return (f'<section id="{anchor(title)}"><h2>{escape(title)}</h2>\n' + "\n".join(part for part in parts if part)
            + "</section>")


def anchor(title: str) -> str:
    """Return the address of the section `title` within its page."""
    return title.lower().replace(" ", "-")


def figure_element(drawn: Drawn) -> str:
    """Return a figure with its caption: as SVG if there is one, as PNG else; two columns wide where it is so."""
    kind, mime = ("svg", "svg+xml") if "svg" in drawn.files else ("png", "png")
    caption, wide = escape(drawn.caption), ' class="wide"' if drawn.wide else ""
    return (f'<figure id="figure-{escape(drawn.name)}"{wide}><div class="scroll"><img alt="{caption}" '
            f'src="data:image/{mime};base64,{base64.b64encode(drawn.files[kind]).decode()}"></div>'
            f"<figcaption>{caption}</figcaption></figure>")


def html_table(header: Sequence[str], rows: Sequence[Sequence[tuple[str, str | float]]], *, text_columns: int = 1,
               titles: Sequence[str] | None = None) -> str:
    """Return a table of HTML cells, each with the value that it is sorted by.

    The first `text_columns` columns are aligned left; `titles` explain the columns.
    """
    def cell(tag: Literal["th", "td"], place: int, text: str, more: str) -> str:
        return f"<{tag}{' class=text' if place < text_columns else ''}{more}>{text}</{tag}>"

    def title(place: int) -> str:
        text = titles[place] if titles else ""
        return f' title="{escape(text)}"' if text else ""

    def value(content: str | float) -> str:
        if isinstance(content, str):
            return ""
        return ' data-v=""' if np.isnan(content) else f' data-v="{content:.6g}"'

    head = "".join(cell("th", place, f"<button>{text}</button>", title(place)) for place, text in enumerate(header))
    body = "\n".join("<tr>" + "".join(cell("td", place, text, value(content))
                                      for place, (text, content) in enumerate(row)) + "</tr>" for row in rows)
    return (f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
            f"<tbody>\n{body}\n</tbody></table></div>")
