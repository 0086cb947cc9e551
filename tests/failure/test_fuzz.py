"""Random damage to pictures, archives, tables and settings: each ends in a result or in one message, never a traceback.

The default suite tries a few inputs of each kind, the slow tests 10,000 in all. `seed` names an input: a failure is
repeated by its number.
"""

from __future__ import annotations

import copy
import io
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, features

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.sources.archive import Config as ArchiveConfig
from fakemedia.sources.archive import build as archive_source
from fakemedia.sources.source import listed
from fakemedia.sources.table import Config as TableConfig
from fakemedia.sources.table import build as table_source
from fakemedia.store.decode import DecodeError, decode

FEW = 40
MANY = {"picture": 5000, "archive": 1800, "table": 1700, "settings": 1000, "score": 500}
"""Inputs of each kind in the slow tests."""
CODECS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", *(["WEBP"] if features.check("webp") else []),
          *(["AVIF"] if features.check("avif") else [])]
JUNK = [None, True, -1, 0, 10**30, 1e308, float("nan"), float("inf"), "", "x", "1e-3", "\0", "../..", [], [None], {},
        {"name": None}, {"x": {}}, ["a", "a"], "ü" * 500]


@cache
def pictures() -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    found = []
    for codec in CODECS:
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(buffer, codec)
        found.append(buffer.getvalue())
    return tuple(found)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with one to four random changes: bytes changed, cut, repeated, removed, inserted."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        size = rng.choice([1, 1, 2, 4, 16, 200])
        kind = rng.randrange(6)
        if kind == 0:
            out[at:at + size] = rng.randbytes(len(out[at:at + size]))
        elif kind == 1:
            out[at:at + size] = bytes([rng.choice([0, 0x7F, 0x80, 0xFF])]) * len(out[at:at + size])
        elif kind == 2:
            del out[at:at + size]
        elif kind == 3:
            out[at:at] = rng.randbytes(size)
        elif kind == 4:
            out[at:at] = out[at:at + size]
        else:
            del out[at:]
    return bytes(out)


def try_picture(rng: random.Random, _: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's warnings would reach the terminal.
        try:
            pixels = decode(damaged(rng.choice(pictures()), rng))
        except DecodeError:
            return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


@cache
def archives() -> tuple[tuple[str, bytes], ...]:
    names = [f"data/gan/{split}/{name}/{number}.png" for split in SPLITS for name in CLASS_FOLDERS
             for number in range(2)]
    zipped, tarred, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, pictures()[0])
    for buffer, mode in ((tarred, "w"), (packed, "w:gz")):
        with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(pictures()[0])
                archive.addfile(info, io.BytesIO(pictures()[0]))
    return ("a.zip", zipped.getvalue()), ("a.tar", tarred.getvalue()), ("a.tar.gz", packed.getvalue())


def try_archive(rng: random.Random, folder: Path) -> None:
    name, data = rng.choice(archives())
    path = folder / name
    path.write_bytes(damaged(data, rng))
    try:
        source = archive_source(ArchiveConfig(root=str(path)))
        for task in source.tasks():
            for item in listed(source, task)[0][:3]:
                try:
                    decode(source.reader(item.path)())
                except (OSError, DecodeError):  # What ingestion notes about a picture.
                    continue
    except UserError:
        pass
    finally:
        path.unlink()


@cache
def tables() -> tuple[tuple[str, bytes], ...]:
    rows = pd.DataFrame({"path": [f"{number}.png" for number in range(6)], "label": [0, 1] * 3, "task": "gan",
                         "split": ["train"] * 2 + ["val"] * 2 + ["test"] * 2, "source": list("aabbcc")})
    parquet = io.BytesIO()
    rows.to_parquet(parquet)
    text = rows.to_csv(index=False)
    return (("t.csv", text.encode()), ("t.csv", text.encode("utf-16")), ("t.csv", text.replace(",", ";").encode()),
            ("t.parquet", parquet.getvalue()))


def try_table(rng: random.Random, folder: Path) -> None:
    name, data = rng.choice(tables())
    (folder / name).write_bytes(damaged(data, rng))
    try:
        source = table_source(TableConfig(root=str(folder), table=name))
        for task in source.tasks():
            source.items(task)
    except UserError:
        pass


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in parts:
        yield from leaves(each, (*path, key))


def try_settings(rng: random.Random, _: Path) -> None:
    context = project_context()
    parameters = copy.deepcopy(dict(context.parameters))
    for _ in range(rng.randint(1, 2)):
        *parents, last = rng.choice(list(leaves(parameters)))
        at: Any = parameters
        for key in parents:
            at = at[key]
        if isinstance(at, dict) and rng.random() < 0.3:
            at[rng.choice([f"{last}x", "", "  ", 3])] = at.pop(last)
        else:
            at[last] = copy.deepcopy(rng.choice(JUNK))
    changed = replace(context, parameters=parameters)
    with suppress(UserError):
        check_sequences(changed)


def check_sequences(context: Any) -> None:
    for sequence in context.sequences:
        context.plan(sequence).resolved()
        context.robustness(sequence)
        context.collection(context.plan(sequence).collection)
    assert context.calibration, context.tracking


@cache
def project_context() -> Any:
    from fakemedia.context.loading import load_context

    context = load_context(conf_source=str(Path(__file__).parents[2] / "conf"))
    kept = {name: context.parameters["sequences"][name] for name in ("demo", "cddb_short")}
    return replace(context, parameters={**context.parameters, "sequences": kept})


class Constant:
    """A detector that finds every picture equally fake."""

    def __init__(self) -> None:
        from fakemedia.scoring.model import Facts

        self.facts = Facts(network="none", tasks=("a",), crop=16, policy="native", fingerprint="0", calibration=None)

    def outputs(self, crops: np.ndarray) -> Any:
        from fakemedia.scoring.model import Outputs

        return Outputs(logits=np.zeros(len(crops)), embeddings=np.zeros((len(crops), 2), np.float32))

    def logits(self, crops: np.ndarray) -> np.ndarray:
        return np.zeros(len(crops))


def try_score(rng: random.Random, folder: Path) -> None:
    from fakemedia.scoring.scores import score_files

    files = [folder / f"{number}.{rng.choice(['png', 'jpg', 'webp', 'x'])}" for number in range(3)]
    for file in files:
        file.write_bytes(damaged(rng.choice(pictures()), rng))
    table = score_files(Constant(), files, progress=False)  # type: ignore[arg-type]
    assert len(table) == len(files)
    assert ((table["error"] != "") | table["verdict"].ne("")).all()


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    "picture": try_picture, "archive": try_archive, "table": try_table, "settings": try_settings, "score": try_score}


def try_many(kind: str, folder: Path, seeds: range) -> None:
    for seed in seeds:
        try:
            KINDS[kind](random.Random(f"{kind} {seed}"), folder)
        except Exception as error:
            raise AssertionError(f"{kind} {seed}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damaged_inputs(tmp_path: Path, kind: str) -> None:
    try_many(kind, tmp_path, range(FEW))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_inputs(tmp_path: Path, kind: str) -> None:
    try_many(kind, tmp_path, range(FEW, FEW + MANY[kind]))


def test_cells_beyond_the_header_are_not_dropped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.png,0,extra,more\n")
    with pytest.raises(UserError, match="cannot be read"):
        table_source(TableConfig(root=str(tmp_path), table="t.csv")).tasks()


def test_a_name_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(".", b"x")
    with pytest.raises(UserError, match="is no file"):
        archive_source(ArchiveConfig(root=str(tmp_path / "a.zip"))).tasks()


@pytest.mark.parametrize("parameters", [{3: 1}, {"sequences": 2.5}, {"collections": {"demo": {"source": True}}},
                                        {"collections": 7}])
def test_parameters_of_another_type_are_one_message(parameters: dict) -> None:
    context = project_context()
    changed = replace(context, parameters={**context.parameters, **parameters})
    with pytest.raises(UserError):
        check_sequences(changed)
