"""The pages: what they link to, what the code says in them, and that they ask nobody else for anything."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from markdown.extensions.toc import slugify

from fakemedia.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = re.compile(r"^```\n(.*?)^```|`(kedro [^`\n]+)`", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"^<!-- (\w+) ?(\S*) -->$", re.MULTILINE)

sys.path.append(str(ROOT / "docs"))
import reference_text  # noqa: E402

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    broken = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_name_a_heading_of_their_page(page: Path) -> None:
    links = [link.split("#") for link in LINK.findall(page.read_text(encoding="utf-8")) if re.search("^[^:]*#", link)]
    assert not [link for link in links if link[1] not in _anchors(page.parent / link[0] if link[0] else page)]


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slugify(heading.replace("`", ""), "-") for heading in re.findall("^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize(("kind", "argument"), GENERATED.findall(CONFIGURATION))
def test_every_key_has_a_meaning(kind: str, argument: str) -> None:
    text = reference_text.generate(kind, argument)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows or kind == "presets"
    assert all(row.split(" | ")[-1].strip(" |") for row in rows)
    assert not [row for row in rows if kind != "presets" and re.search(r"[A-Z\[]", row.split(" | ")[1])]


def test_the_reference_has_every_kind_of_settings() -> None:
    asked = GENERATED.findall(CONFIGURATION)
    for path in sorted((ROOT / "src" / "fakemedia").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        kind = ".".join(module.split(".")[1:-1])
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                assert ("plugins", kind) in asked, f"docs/reference/configuration.md: <!-- plugins {kind} -->"
            elif isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
                place = f"{module}:{node.name}"
                assert ("settings", place) in asked, f"docs/reference/configuration.md: <!-- settings {place} -->"


def test_what_a_key_says_is_what_the_code_says() -> None:
    (row,) = [row for row in reference_text.keys(reference_text._named("fakemedia.core.training:TrainingConfig"))
              if row["key"] == "patience"]
    assert row == {"key": "patience", "type": "integer or `null`", "default": "`null`",
                   "meaning": "Epochs without a better validation accuracy after which training stops; None: never."}


def test_the_catalog_page_has_every_file() -> None:
    entries = yaml.safe_load((ROOT / "conf" / "base" / "catalog.yml").read_text(encoding="utf-8"))
    text = reference_text.catalog_text()
    for entry, given in entries.items():
        assert (f"| `{entry}`<br>`{given.get('filepath')}` | " in text) == ("filepath" in given)


def test_the_commands_page_has_every_command() -> None:
    text = reference_text.commands_text()
    assert "## `kedro step`" in text
    assert "--target-dataset" in text
    assert "--only-missing-outputs" in text


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_address(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                           env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert built.returncode == 0, built.stderr
    loaded = re.compile(r"""(?:<(?:script|img|iframe)[^>]+src|<link[^>]+href)=["']?(?:https?:)?//[^"' >]+""")
    for page in tmp_path.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_architecture_names_files_that_exist() -> None:
    named = re.findall(r"`([\w/]+/[\w.]+\.(?:py|yml))`", ARCHITECTURE)
    assert len(named) > 20
    assert not [name for name in named if not any((place / name).is_file() for place in (ROOT, ROOT / "src/fakemedia"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    written = "\n".join(map("".join, COMMANDS.findall(text)))
    for name, rest in re.findall(r"\b(?:kedro|fakemedia) ([a-z]+)([^`\n#]*)", written):
        command = cli.commands.get(name)
        known = {option for parameter in command.params for option in parameter.opts} if command else set()
        assert command or name in {"registry", "viz", "jupyter", "init"}, name
        assert not command or set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known, (name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_checkpoints_are_of_labels_that_are_configured(page: Path) -> None:
    sequences = yaml.safe_load((ROOT / "conf/base/parameters_sequences.yml").read_text(encoding="utf-8"))["sequences"]
    named = re.findall(r"(?<![/\w])(demo|cddb_[a-z_]+)/([a-z_]+)\b(?![./])", page.read_text(encoding="utf-8"))
    assert not [(sequence, label) for sequence, label in named if label not in sequences[sequence]["methods"]]


def test_the_architecture_names_the_rooms_in_the_order_of_the_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [sorted(re.split(r" [|:] ", layer)) for layer in layers]
    table = ARCHITECTURE.partition("## The rooms")[2].partition("## One command")[0]
    rows = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]
    assert [sorted(re.findall(r"`(\w+)(?:/|\.py)`", row)) for row in rows] == rooms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_the_source_exist(page: Path) -> None:
    named = re.findall(r"\b(?:src/fakemedia|tests|benchmarks|notebooks)/[\w./]*\w", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_files_that_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE))
    assert not [name for name in named if not list((ROOT / "src" / "fakemedia").rglob(name))
                and not (ROOT / "docs" / name).exists()]


def test_the_citation_is_that_of_the_package_and_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["title"], cited["version"], cited["license"]) == tuple(
        project[key] for key in ("name", "version", "license"))
    (paper,) = cited["references"]
    faq = (ROOT / "docs/faq.md").read_text(encoding="utf-8")
    for told in (paper["title"], paper["doi"], paper["journal"], *(each["family-names"] for each in paper["authors"])):
        assert told in faq
