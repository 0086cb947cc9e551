"""One file adds one thing: a method, a network, a measure or a source is found by its file name.

A plugin file defines a frozen, keyword-only dataclass `Config` and a function `build(config, ...)`; it may define
`PRESETS`, a dict of named settings such as `paper`, and `ALIASES`, a dict of short names for the plugin with settings
given: `{"resnet18": {"architecture": "resnet18.tv_in1k"}}`. Settings of the user replace those of the short name. Keys
in upper case are constants of the short name (see `constant`).
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import math
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from fakemedia.core.errors import UserError, unknown_name

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")
_roots = [PACKAGE_ROOT]


def add_folder(folder: str | Path) -> None:
    """Find plugins in `folder` too, which is laid out as the package: `<folder>/methods/<name>.py`.

    For this process only; plugins of the package take precedence. Call it again after a file there has changed.
    UserError if there is no such folder.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise UserError("The folder of plugins does not exist", where=root)
    if root not in _roots:
        _roots.append(root)
    for name, module in list(sys.modules.items()):
        if name.startswith("fakemedia.") and root in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]
    importlib.invalidate_caches()
    for cached_function in (_parsed, _files_below, _aliases, names):
        cached_function.cache_clear()


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _is_plugin(path: Path) -> bool:
    defined = {node.name for node in _parsed(path).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    return {"Config", "build"} <= defined


def _files(kind: str) -> tuple[Path, ...]:
    return _files_below(tuple(_roots), kind)


@cache
def _files_below(roots: tuple[Path, ...], kind: str) -> tuple[Path, ...]:
    return tuple(path for root in roots for path in sorted(root.joinpath(*kind.split(".")).glob("*.py"))
                 if _is_plugin(path))


def _literal(path: Path, key: str, default: Any) -> Any:
    for node in _parsed(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == key
                                                for target in node.targets):
            return ast.literal_eval(node.value)
    return default


@cache
def _aliases(kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the plugin and the entry of each short name of `kind`; files take precedence over short names."""
    files = _files(kind)
    return {alias: (path.stem, entry) for path in reversed(files) for alias, entry in
            _literal(path, "ALIASES", {}).items() if alias not in {file.stem for file in files}}


def alias(kind: str, name: str) -> tuple[str, dict[str, Any]] | None:
    """Return the plugin and the settings of the short name `name`; None if there is no such short name.

    >>> alias("networks", "resnet18")
    ('timm', {'architecture': 'resnet18.tv_in1k'})
    """
    if name not in _aliases(kind):
        return None
    plugin, entry = _aliases(kind)[name]
    return plugin, {key: value for key, value in entry.items() if not key.isupper()}


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the plugin names of `kind` ("methods", "networks", "similarity", "sources", ...), sorted.

    Nothing is imported: a plugin is a file of the folder that defines `Config` and `build`, or a short name in one.

    >>> {"ewc", "finetune", "joint", "kd"} <= set(names("methods"))
    True
    """
    return tuple(sorted({path.stem for path in _files(kind)} | set(_aliases(kind))))


def _path(kind: str, name: str) -> Path:
    """Return the file of the plugin `name` or of the plugin behind the short name; the first of several."""
    stem, _ = _aliases(kind).get(name, (name, {}))
    return next(path for path in _files(kind) if path.stem == stem)


def constant(kind: str, name: str, key: str, default: Any) -> Any:
    """Return the literal that the plugin's file assigns to `key` at its top level, without importing it.

    A short name may have another value: that of the key in its entry of `ALIASES`.
    """
    _, entry = _aliases(kind).get(name, (name, {}))
    return entry[key] if key in entry else _literal(_path(kind, name), key, default)


def load(kind: str, name: str, *, where: object = None) -> ModuleType:
    """Import and return the plugin module `name` or the module behind the short name.

    An unknown name is a UserError that lists the names.
    """
    if name not in names(kind):
        raise unknown_name(kind.rpartition(".")[2].removesuffix("s"), name, names(kind), where=where)
    path, package = _path(kind, name), importlib.import_module(f"fakemedia.{kind}")
    if str(path.parent) not in package.__path__:
        package.__path__.append(str(path.parent))
    return importlib.import_module(f"fakemedia.{kind}.{path.stem}")


def with_preset(settings: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]] | None, *,
                where: object) -> dict[str, Any]:
    """Return `settings` merged over the preset that their key `preset` names; UserError for an unknown one."""
    if not isinstance(settings, Mapping):
        raise UserError(f"{settings!r} is not a mapping", where=where, expected="keys and values")
    merged = dict(settings)
    preset = merged.pop("preset", None)
    if preset is None:
        return merged
    if not isinstance(preset, str) or preset not in (presets or {}):
        raise unknown_name("preset", preset, presets or {}, where=where)
    return {**(presets or {})[preset], **merged}


def configure(config: type[T], settings: Mapping[str, Any], *, where: object,
              presets: Mapping[str, Mapping[str, Any]] | None = None) -> T:
    """Return the dataclass `config` filled from `settings`, checked by type.

    A `preset` key in `settings` names a base in `presets`, which the other keys override. Unknown keys, wrong
    types, true or false for a number, numbers that are not finite and values that `__post_init__` refuses are
    UserErrors that name the key and `where` it is.
    """
    values = with_preset(settings, presets, where=where)
    fields = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise unknown_name("key", key, [*fields, *(["preset"] if presets else [])], where=where)
    try:
        filled = TypeAdapter(config).validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            f"The value {problem['input']!r} does not fit the key {key!r}" if key else "The settings do not fit",
            where=where,
            expected=problem["msg"].removeprefix("Value error, "),
        ) from None
    for key, value in values.items():
        expected = _expected_kind(value, getattr(filled, key))
        if expected is not None:
            raise UserError(f"The value {value!r} does not fit the key {key!r}", where=where, expected=expected)
    return filled


def _expected_kind(value: Any, converted: Any) -> str | None:
    """Return the expected kind of `value` if it was converted to another kind, `converted`; else None."""
    if isinstance(converted, float) and not math.isfinite(converted):
        return "a finite number"
    if isinstance(value, bool) and not isinstance(converted, bool):
        return "a number, not true or false"
    if isinstance(converted, bool) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return "true or false"
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping) and isinstance(converted, Mapping):
        pairs = [(value[key], item) for key, item in converted.items() if key in value]
    elif isinstance(value, (list, tuple)) and isinstance(converted, (list, tuple)):
        pairs = list(zip(value, converted, strict=False))
    return next((expected for pair in pairs if (expected := _expected_kind(*pair)) is not None), None)


def create(kind: str, name: str, settings: Mapping[str, Any], *args: Any, where: object = None) -> Any:
    """Load the plugin, fill its `Config` from `settings` and return `build(config, *args)`.

    >>> create("sources", "folder", {"root": "data/01_raw/demo"})
    FolderSource(root=PosixPath('data/01_raw/demo'))
    """
    module = load(kind, name, where=where)
    return module.build(resolve(kind, name, settings, where=where), *args)


def resolve(kind: str, name: str, settings: Mapping[str, Any], *, where: object = None) -> Any:
    """Return the plugin's checked `Config`, the settings of a short name, defaults and preset filled in."""
    module = load(kind, name, where=where)
    location = where if where is not None else f"{kind} {name!r}"
    _, preset = alias(kind, name) or (name, {})
    return configure(module.Config, {**preset, **settings}, where=location, presets=getattr(module, "PRESETS", None))
