"""What the site takes from the code when it is built: the reference pages, the README, and pages named by a pattern.

A page asks for generated text by a comment on a line of its own: `<!-- settings module:Class -->`,
`<!-- presets module:CONSTANT -->`, `<!-- plugins methods -->`, `<!-- commands -->`, `<!-- catalog -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MARKER = re.compile(r"^<!-- (settings|presets|plugins|commands|catalog)(?: ([\w.:]+))? -->$", re.MULTILINE)

sys.path.insert(0, str(DOCS))
import reference_text  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder in the place of its pattern in the navigation."""
    named = set(_paths(config.nav or []))
    config.nav = _expanded(config.nav or [], named)
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Make the README the first page of the site."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put generated text in the place of the comments that ask for it."""
    try:
        return MARKER.sub(lambda found: reference_text.generate(found[1], found[2]), markdown)
    except ValueError as error:
        raise PluginError(str(error)) from error


def on_nav(nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
    """Call the first page by its purpose."""
    nav.pages[0].title = "Overview"
    return nav


def _paths(nav: list[Any]) -> list[str]:
    return [path for item in nav for path in (
        [item] if isinstance(item, str) else [path for value in item.values()
                                              for path in _paths(value if isinstance(value, list) else [value])])]


def _expanded(nav: list[Any], named: set[str]) -> list[Any]:
    expanded: list[Any] = []
    for item in nav:
        if isinstance(item, dict):
            expanded.append({title: _expanded(value, named) if isinstance(value, list) else value
                             for title, value in item.items()})
        elif item.endswith("*"):
            expanded += sorted(path for file in DOCS.glob(f"{item}.md")
                               if (path := file.relative_to(DOCS).as_posix()) not in named)
        else:
            expanded.append(item)
    return expanded
