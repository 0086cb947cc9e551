"""Text of the reference pages, taken from the code: settings, plugins, commands and the catalog."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from fakemedia.core import plugin

CATALOG = Path(__file__).parents[1] / "conf" / "base" / "catalog.yml"


def generate(kind: str, argument: str | None) -> str:
    """Return the Markdown that the comment `<!-- kind argument -->` asks for."""
    makers: dict[str, Callable[..., str]] = {
        "settings": lambda place: settings_text(_named(place)), "presets": lambda place: presets_text(_named(place)),
        "plugins": plugins_text, "commands": commands_text, "catalog": catalog_text,
    }
    return makers[kind](argument) if argument else makers[kind]()


def _named(place: str) -> Any:
    """Return what `module:name` names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def settings_text(config: type) -> str:
    """Return what the dataclass `config` is and a table of its keys; ValueError for a key without a meaning."""
    return f"{inspect.getdoc(config)}\n\n{_table(config)}"


def plugins_text(kind: str) -> str:
    """Return a section for each plugin of `kind`: what it is, its keys and its presets."""
    return "\n\n".join(_plugin_text(kind, name) for name in plugin.names(kind))


def _plugin_text(kind: str, name: str) -> str:
    if (short := plugin.alias(kind, name)) is not None:
        stands_for, settings = short
        return f"### `{name}`\n\nShort for `{_yaml({'name': stands_for, **settings})}`."
    module = plugin.load(kind, name)
    summary = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
    parts = [f"### `{name}`", summary, _table(module.Config), presets_text(getattr(module, "PRESETS", {}))]
    return "\n\n".join(part for part in parts if part)


def presets_text(presets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line for each preset."""
    return "\n\n".join(f"`preset: {name}` stands for `{_yaml(dict(values))}`." for name, values in presets.items())


def keys(config: type) -> list[dict[str, str]]:
    """Return key, type, default and meaning of each field of the dataclass `config`.

    The meaning is the string literal under the field; ValueError where there is none.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(definition, ast.ClassDef)
    said, written = {}, {}
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            written[statement.target.id] = _type(_Aliases(config).visit(statement.annotation))
            match following:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    said[statement.target.id] = " ".join(text.split())
    rows = []
    for field in dataclasses.fields(config):
        if field.name not in said:
            raise ValueError(f"{config.__module__}.{config.__name__}.{field.name} has no line on what it means")
        rows.append({"key": field.name, "type": written[field.name], "default": _default(field),
                     "meaning": said[field.name]})
    return rows


def _table(config: type) -> str:
    rows = keys(config)
    if not rows:
        return "No keys."
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row['key']}` | {row['type']} | {row['default']} | {_cell(row['meaning'])} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(annotation: ast.expr) -> str:
    """Return the type as somebody who writes YAML calls it."""
    match annotation:
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return f"{_type(left)} or {_type(right)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Constant(value=choice)):
            return f"`{choice}`"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=choices)):
            return ", ".join(f"`{ast.literal_eval(choice)}`" for choice in choices)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[first, *others])):
            if ast.unparse(others[-1]) == "...":
                return f"list of {_type(first)}"
            return f"list of {1 + len(others)}: {', '.join(map(_type, [first, *others]))}"
        case ast.Subscript(value=ast.Name(id="Mapping" | "dict")):
            return "mapping"
        case ast.Constant(value=None):
            return "`null`"
        case ast.Name(id=name):
            return {"str": "text", "int": "integer", "float": "number", "bool": "`true`, `false`"}.get(name, name)
    return f"`{ast.unparse(annotation)}`"


class _Aliases(ast.NodeTransformer):
    """Puts the choices in the place of a name that the module of `config` gives to a Literal."""

    def __init__(self, config: type) -> None:
        self.names = vars(sys.modules[config.__module__])

    def visit_Name(self, node: ast.Name) -> ast.expr:
        alias = self.names.get(node.id)
        if get_origin(alias) is not Literal:
            return node
        return ast.parse(f"Literal[{', '.join(map(repr, get_args(alias)))}]", mode="eval").body


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{_yaml(field.default)}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{_yaml(field.default_factory())}`"
    return "required"


def _yaml(value: Any) -> str:
    """Return `value` as it is written in the configuration, on one line."""
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def commands_text() -> str:
    """Return the help of the project's own commands, `run` last."""
    import click

    from fakemedia.cli import cli

    names = sorted(cli.commands, key=lambda name: (name == "run", name))
    sections = []
    for name in names:
        command = cli.commands[name]
        context = click.Context(command, info_name=f"kedro {name}", terminal_width=84, max_content_width=84)
        sections.append(f"## `kedro {name}`\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(sections)


def catalog_text() -> str:
    """Return a table of the catalog's files: entry, place, and what the comment above the entry says."""
    text = CATALOG.read_text(encoding="utf-8")
    said = {entry: comment for comment, entry in re.findall(r'^# (.+)\n"(.+)":$', text, re.MULTILINE)}
    lines = ["| entry and file | what it is |", "|---|---|"]
    lines += [f"| `{entry}`<br>`{given['filepath']}` | {_cell(said.get(entry, ''))} |"
              for entry, given in yaml.safe_load(text).items() if "filepath" in given]
    return "\n".join(lines)
