"""Broken and hostile files: each ends in its named finding or error, and none is trained on."""

from __future__ import annotations

import io
import os
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.artefacts.files import read_regular
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest.audit import accept, audit_task
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index
from fakemedia.sources import archive, data_folders, table
from fakemedia.sources.folder import FolderSource
from fakemedia.store.pixels import PixelStore

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def encoded(codec: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(buffer, codec, **options)
    return buffer.getvalue()


def flipped(data: bytes, *positions: int) -> bytes:
    out = bytearray(data)
    for position in positions:
        out[position] ^= 0xFF
    return bytes(out)


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """Return a grey PNG whose header claims a size, whatever its body holds."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


JPEG, PNG, WEBP, GIF, BMP, TIFF = (encoded(codec) for codec in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"))
UNREADABLE: dict[str, bytes] = {
    "empty.jpg": b"", "empty.png": b"", "one_byte.png": b"\x89", "zeros.jpg": bytes(5000), "zeros.png": bytes(5000),
    "text.jpg": b"this is no picture\n" * 50, "html.png": b"<!doctype html><title>404</title>", "null.webp": b"\0",
    "script.png": b"#!/bin/sh\necho no picture\n", "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "pickle.png": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x05posix\x94.", "pdf.jpg": b"%PDF-1.7\n1 0 obj\n",
    "zip.png": b"PK\x03\x04" + bytes(100), "random.bmp": random.Random(0).randbytes(3000),
    "random.webp": b"RIFF\x10\0\0\0WEBPVP8 " + random.Random(1).randbytes(200),
    **{f"half.{codec}": data[:len(data) // 2] for codec, data in
       {"jpg": JPEG, "png": PNG, "webp": WEBP, "gif": GIF, "bmp": BMP, "tiff": TIFF}.items()},
    **{f"headers_only.{codec}": data[:30] for codec, data in
       {"jpg": JPEG, "png": PNG, "webp": WEBP, "gif": GIF, "bmp": BMP, "tiff": TIFF}.items()},
    "almost_whole.png": PNG[:-60], "almost_whole.jpg": JPEG[:-400],
    "flipped_magic.jpg": flipped(JPEG, 0, 1), "flipped_magic.png": flipped(PNG, 1, 2),
    "flipped_magic.gif": flipped(GIF, 0), "flipped_header.png": flipped(PNG, 18, 19),
    "flipped_colour.png": flipped(PNG, 25),
    "flipped_body.png": flipped(PNG, *range(200, 260)), "flipped_length.png": flipped(PNG, 8, 9),
    "flipped_size.webp": flipped(WEBP, 4, 5, 6, 7, 23, 24), "flipped_frame.jpg": flipped(JPEG, 158, 159, 160, 161, 162),
    "bomb.png": png(60000, 60000), "bomb_wide.png": png(2**31 - 1, 2), "bomb_body.png": png(20000, 20000, bytes(10**6)),
    "bomb.jpg": JPEG[:JPEG.index(b"\xff\xc0") + 5] + b"\xff\xff\xff\xff" + JPEG[JPEG.index(b"\xff\xc0") + 9:],
    "no_pixels.png": png(0, 0), "short_body.png": png(64, 64, bytes(100)),
    "float.tiff": encoded("TIFF", Image.fromarray(np.full((4, 4), 0.5, np.float32))),
    "wide_samples.tiff": encoded("TIFF", Image.fromarray(np.full((4, 4), 70000, np.int32))),
}


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


ODD: dict[str, bytes] = {
    "one_pixel.png": encoded("PNG", Image.new("RGB", (1, 1), (10, 200, 30))),
    "line.png": encoded("PNG", Image.new("RGB", (65500, 1), (10, 200, 30))),
    "column.jpg": encoded("JPEG", Image.new("RGB", (1, 65500), (10, 200, 30))),
    "wrong_ending.jpg": PNG, "wrong_ending.png": JPEG, "rotated.jpg": encoded("JPEG", exif=exif(6)),
    "absurd_orientation.jpg": encoded("JPEG", exif=exif(60000)),
    "absurd_exif.jpg": encoded("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "huge_exif.jpg": encoded("JPEG", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + bytes(60000)),
    "trailing_bytes.jpg": JPEG + bytes(10000), "animated.gif": encoded(
        "GIF", save_all=True, append_images=[Image.new("RGB", (64, 64))]),
    "name with spaces.png": PNG, "line\nbreak.png": PNG, "üñï-図.png": PNG, "n" * 251 + ".png": PNG,
    "quote\"'`$(x);&.png": PNG, "-rf.png": PNG, "percent%s{task}.png": PNG, "CON.png": PNG,
}


def write_task(root: Path) -> Path:
    seed = 100
    for split in SPLITS:
        for name in CLASS_FOLDERS:
            folder = root / "gan" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                seed += 1
                pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"good{number}.png")
    return root / "gan"


def outcome(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, PixelStore]:
    """Index, audit and store the training split with unreadable images quarantined."""
    config = AuditConfig(quarantine=("unreadable",))
    source = FolderSource(root)
    index = build_index(source, "gan", workers=2, progress=False)
    findings = audit_task(index, config)
    with pytest.raises(UserError, match="cannot be read") if "unreadable" in set(findings["finding"]) else nothing():
        accept(index, audit_task(index, AuditConfig()), AuditConfig())
    kept = accept(index, findings, config)
    return index, findings, build_store(kept, source, "train", root / "store", workers=2, progress=False)


class nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_the_corpus_is_large() -> None:
    assert len(UNREADABLE) + len(ODD) + len(LINKS) + len(ZIP_FAULTS) + len(TAR_FAULTS) + len(TABLE_FAULTS) >= 90


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_found_and_left_out(tmp_path: Path, name: str) -> None:
    task = write_task(tmp_path)
    (task / "train/1_fake" / name).write_bytes(UNREADABLE[name])
    _, findings, store = outcome(tmp_path)
    named = findings[findings["finding"] == "unreadable"]
    assert named["path"].tolist() == [f"gan/train/1_fake/{name}"]
    assert named["detail"].iloc[0] != ""
    assert len(store) == 4


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_read(tmp_path: Path, name: str) -> None:
    task = write_task(tmp_path)
    (task / "train/1_fake" / name).write_bytes(ODD[name])
    index, findings, store = outcome(tmp_path)
    assert "unreadable" not in set(findings["finding"])
    assert f"gan/train/1_fake/{name}" in set(index["path"])
    assert len(store) == 5
    if store.heights.max() > 1000 or store.heights.min() == 1:
        assert store.crops(np.arange(5), np.zeros(5, int), np.zeros(5, int), 16).shape == (5, 16, 16, 3)


LINKS: dict[str, Callable[[Path], None]] = {
    "dangling": lambda path: path.symlink_to("nowhere.png"),
    "to itself": lambda path: path.symlink_to(path.name),
    "round": lambda path: (path.symlink_to("other.png"), path.with_name("other.png").symlink_to(path.name)),
    "to a device": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_bad_link_is_found(tmp_path: Path, kind: str) -> None:
    path = write_task(tmp_path) / "train/0_real" / "link.png"
    LINKS[kind](path)
    _, findings, store = outcome(tmp_path)
    assert "gan/train/0_real/link.png" in findings.loc[findings["finding"] == "unreadable", "path"].tolist()
    assert len(store) == 4


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(write_task(tmp_path) / "train/0_real" / "pipe.png")
    _, findings, _ = outcome(tmp_path)
    assert findings["path"].tolist() == ["gan/train/0_real/pipe.png"]


def test_a_file_without_permission_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_task(tmp_path) / "train/0_real" / "locked.png"
    path.write_bytes(PNG)
    path.chmod(0)
    def read(path: str, size: int) -> bytes:  # An administrator may read everything.
        if path.endswith("locked.png"):
            raise PermissionError(13, "Permission denied")
        return read_regular(path, size)

    monkeypatch.setattr(data_folders, "read_regular", read)
    _, findings, _ = outcome(tmp_path)
    assert findings[["finding", "detail"]].to_numpy().tolist() == [["unreadable", "Permission denied"]]


def zipped(path: Path, *names: str, change: Callable[[bytes], bytes] = bytes, mode: int = 0) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for split in SPLITS:
            for label in CLASS_FOLDERS:
                file.writestr(f"gan/{split}/{label}/good.png", PNG)
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, PNG)
    path.write_bytes(change(path.read_bytes()))


def encrypted(data: bytes) -> bytes:
    out = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(magic)
        while place >= 0:
            out[place + at] |= 1
            place = data.find(magic, place + 1)
    return bytes(out)


TWICE = "gan/train/0_real/good.png"
ZIP_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "climbs": (lambda path: zipped(path, "../evil.png"), "leaves the archive"),
    "climbs inside": (lambda path: zipped(path, "gan/train/../../../evil.png"), "leaves the archive"),
    "climbs with backslashes": (lambda path: zipped(path, "..\\evil.png"), "leaves the archive"),
    "absolute": (lambda path: zipped(path, "/tmp/evil.png"), "leaves the archive"),
    "drive": (lambda path: zipped(path, "C:/evil.png"), "leaves the archive"),
    "twice": (lambda path: zipped(path, TWICE), "is listed twice"),
    "link": (lambda path: zipped(path, "gan/train/0_real/link.png", mode=0o120777), "holds a link"),
    "nested": (lambda path: zipped(path, "gan/more.zip"), "another archive"),
    "nested tar": (lambda path: zipped(path, "gan/more.tar.gz"), "another archive"),
    "encrypted": (lambda path: zipped(path, change=encrypted), "encrypted"),
    "truncated": (lambda path: zipped(path, change=lambda data: data[:len(data) // 2]), "cannot be read|damaged|none"),
    "empty file": (lambda path: path.write_bytes(b""), "damaged|none"),
    "text": (lambda path: path.write_text("404 not found"), "damaged|none"),
    "no images": (lambda path: zipfile.ZipFile(path, "w").close(), "no images"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("fault", ZIP_FAULTS)
def test_a_hostile_zip_is_refused(tmp_path: Path, fault: str) -> None:
    make, message = ZIP_FAULTS[fault]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "data.zip")
    with pytest.raises(UserError, match=message):
        archive.build(archive.Config(root=str(tmp_path / "in"))).items("gan")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "data.zip"]


def test_a_wrong_checksum_in_a_zip_is_an_unreadable_image(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    zipped(path, "gan/train/0_real/bad.png")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("gan/train/0_real/bad.png").header_offset + 300
    path.write_bytes(flipped(data, *range(start, start + 40)))
    index = build_index(archive.build(archive.Config(root=str(path))), "gan", workers=2, progress=False)
    bad = index[index["error"] != ""]
    assert bad["path"].tolist() == ["data/gan/train/0_real/bad.png"]
    assert "CRC" in bad["error"].iloc[0]


def tarred(path: Path, *members: tarfile.TarInfo, mode: str = "w", change: Callable[[bytes], bytes] = bytes) -> None:
    with tarfile.open(path, mode) as file:
        for name in [f"gan/{split}/{label}/good.png" for split in SPLITS for label in CLASS_FOLDERS]:
            add(file, member(name))
        for info in members:
            add(file, info)
    path.write_bytes(change(path.read_bytes()))


def add(file: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    info.size = len(PNG) if info.isreg() else 0
    file.addfile(info, io.BytesIO(PNG) if info.isreg() else None)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TAR_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "climbs": (lambda path: tarred(path, member("../evil.png")), "leaves the archive"),
    "absolute": (lambda path: tarred(path, member("/tmp/evil.png")), "leaves the archive"),
    "symbolic link": (lambda path: tarred(path, member("gan/l.png", tarfile.SYMTYPE, "/etc/passwd")), "holds a link"),
    "hard link": (lambda path: tarred(path, member("gan/l.png", tarfile.LNKTYPE, "/etc/passwd")), "holds a link"),
    "device": (lambda path: tarred(path, member("gan/d.png", tarfile.CHRTYPE)), "holds a link or device"),
    "pipe": (lambda path: tarred(path, member("gan/p.png", tarfile.FIFOTYPE)), "holds a link or device"),
    "twice": (lambda path: tarred(path, member(TWICE)), "is listed twice"),
    "nested": (lambda path: tarred(path, member("gan/more.tar")), "another archive"),
    "text": (lambda path: path.write_text("no tar"), "damaged"),
}


@pytest.mark.parametrize("fault", TAR_FAULTS)
def test_a_hostile_tar_is_refused(tmp_path: Path, fault: str) -> None:
    make, message = TAR_FAULTS[fault]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "data.tar")
    with pytest.raises(UserError, match=message):
        archive.build(archive.Config(root=str(tmp_path / "in"))).items("gan")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "data.tar"]


def test_a_truncated_compressed_tar_is_refused(tmp_path: Path) -> None:
    tarred(tmp_path / "data.tar.gz", mode="w:gz", change=lambda data: data[:-40])
    with pytest.raises(UserError, match="cannot be read"):
        archive.build(archive.Config(root=str(tmp_path))).tasks()
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar.gz"]


def test_a_tar_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fakemedia.sources.file_tree as trees

    monkeypatch.setattr(trees, "GIB", 1000)
    info = member("gan/train/0_real/zeros.png")
    info.size = 2**22
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as file:
        file.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(UserError, match="times its size"):
        archive.build(archive.Config(root=str(tmp_path))).tasks()
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar.gz"]


GOOD = "a.png,0\nb.png,1\n"
TABLE_FAULTS: dict[str, tuple[str, str]] = {
    "no label": ("path\na.png\n", "lacks the column label"),
    "no path": ("file,label\na.png,0\n", "lacks the column path"),
    "colons": ("path:label\na.png:0\n", "lacks the column path; its columns are path:label"),
    "other columns": ("file;class\na.png;0\n", "lacks the column path; its columns are file, class"),
    "empty": ("", "cannot be read"),
    "label 2": (f"path,label\n{GOOD}c.png,2\n", "Row 4 .* label other than"),
    "label word": ("path,label\na.png,maybe\n", "Row 2 .* label other than"),
    "label missing": ("path,label\na.png,\n", "Row 2 .* label other than"),
    "label nan": ("path,label\na.png,NaN\n", "Row 2 .* label other than"),
    "label half": ("path,label\na.png,0.5\n", "Row 2 .* label other than"),
    "path missing": ("path,label\n,0\n", "Row 2 .* has no path"),
    "path twice": (f"path,label\n{GOOD}a.png,1\n", "Row 4 .* repeats a path"),
    "path climbs": ("path,label\n../secret.png,0\n", "outside of the root"),
    "path absolute": ("path,label\n/etc/passwd,0\n", "outside of the root"),
    "path through a link": ("path,label\nlink/passwd,0\n", "outside of the root"),
    "split unknown": ("path,label,split\na.png,0,dev\n", "Row 2 .* split other than"),
    "task name": ("path,label,task\na.png,0,../x\n", "cannot be used"),
    "ragged": ('path,label\n"a.png,0\n', "cannot be read"),
}


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_a_bad_table_is_refused(tmp_path: Path, fault: str) -> None:
    text, message = TABLE_FAULTS[fault]
    (tmp_path / "images.csv").write_text(text)
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(UserError, match=message):
        table.build(table.Config(root=str(tmp_path), table="images.csv")).tasks()


@pytest.mark.parametrize("name", ["none.csv", "binary.csv", "broken.parquet"])
def test_a_table_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    if name != "none.csv":
        (tmp_path / name).write_bytes(b"\xff\xfe\x00PAR1" * 20)
    with pytest.raises(UserError, match="cannot be read"):
        table.build(table.Config(root=str(tmp_path), table=name)).tasks()
