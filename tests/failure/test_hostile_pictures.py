"""Odd and broken pictures in bulk: each is decoded to RGB, or refused, and ingestion finds the same."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from fakemedia.ingest.audit import audit_task
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index
from fakemedia.sources.folder import FolderSource
from fakemedia.store.decode import DecodeError, decode
from tests.unit.test_bad_files import LINKS, ODD, TABLE_FAULTS, TAR_FAULTS, UNREADABLE, ZIP_FAULTS, write_task

SIDE = 24
RGB = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
PICTURE = Image.fromarray(RGB)


def encoded(codec: str, image: Image.Image = PICTURE, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(png):
        size, = struct.unpack(">I", png[at:at + 4])
        found.append((png[at + 4:at + 8], png[at + 8:at + 8 + size]))
        at += size + 12
    return found


def png(*parts: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


HEAD, BODY, END = chunks(encoded("PNG"))
CODECS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", *(["WEBP"] if features.check("webp") else []),
          *(["AVIF"] if features.check("avif") else [])]
WHOLE = {codec: encoded(codec) for codec in CODECS}
MODES = {"1": "1", "grey": "L", "grey_alpha": "LA", "palette": "P", "rgba": "RGBA", "cmyk": "CMYK", "ycbcr": "YCbCr",
         "deep": "I;16"}
FITTING = {"PNG": ("1", "grey", "grey_alpha", "palette", "rgba", "deep"), "JPEG": ("grey", "cmyk", "ycbcr"),
           "TIFF": ("1", "grey", "palette", "rgba", "cmyk", "deep"), "GIF": ("1", "grey", "palette"),
           "BMP": ("1", "grey", "palette"), "WEBP": ("rgba",)}


def in_mode(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(RGB[..., 0].astype(np.uint16) << 8)
    return PICTURE.convert(mode)


READABLE = {
    **{f"{codec}_{name}": encoded(codec, in_mode(MODES[name])) for codec, names in FITTING.items() if codec in CODECS
       for name in names},
    "progressive": encoded("JPEG", progressive=True), "lowest_quality": encoded("JPEG", quality=1),
    "highest_quality": encoded("JPEG", quality=100, subsampling=0), "optimized": encoded("JPEG", optimize=True),
    "restart_markers": encoded("JPEG", restart_marker_blocks=1), "interlaced": encoded("PNG", compress_level=0),
    "lzw": encoded("TIFF", compression="tiff_lzw"), "deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "pages": encoded("TIFF", save_all=True, append_images=[PICTURE]), "transparent_palette": encoded(
        "PNG", PICTURE.convert("P"), transparency=3), "transparent_colour": encoded("PNG", transparency=(1, 2, 3)),
    "text_chunk": png(chunk(*HEAD), chunk(b"tEXt", b"Comment\0" + b"x" * 10000), chunk(*BODY), chunk(*END)),
    "unknown_chunk": png(chunk(*HEAD), chunk(b"abCd", bytes(9)), chunk(*BODY), chunk(*END)),
    "split_body": png(chunk(*HEAD), chunk(b"IDAT", BODY[1][:50]), chunk(b"IDAT", BODY[1][50:]), chunk(*END)),
    "after_the_end": WHOLE["PNG"] + b"<?php" * 100, "jpeg_after_the_end": WHOLE["JPEG"] + WHOLE["PNG"],
    "animated_png": encoded("PNG", save_all=True, append_images=[PICTURE.rotate(90)]),
    "comment": encoded("JPEG", comment=b"\xff\xfe\0" * 100), "dpi": encoded("JPEG", dpi=(10**6, 1)),
    "wrong_body_crc": png(chunk(*HEAD), chunk(*BODY, crc=1), chunk(*END)),  # The body has a checksum of its own.
    "profile": encoded("JPEG", icc_profile=b"no profile at all"), "profile_png": encoded("PNG", icc_profile=bytes(300)),
}
REFUSED = {
    **{f"{codec}_cut_{share}": data[:len(data) * share // 100] for codec, data in WHOLE.items()
       for share in (2, 10, 30, 50, 70)},
    **{f"{codec}_magic_alone": data[:12] for codec, data in WHOLE.items()},
    **{f"{codec}_zeros_after_magic": data[:12] + bytes(len(data) - 12) for codec, data in WHOLE.items()},
    **{f"{codec}_shifted": b"\n" + data for codec, data in WHOLE.items()},
    "no_header": png(chunk(*BODY), chunk(*END)), "no_body": png(chunk(*HEAD), chunk(*END)),
    "header_alone": png(chunk(*HEAD)), "two_headers_wrong_crc": png(chunk(*HEAD, crc=0), chunk(*BODY), chunk(*END)),
    "body_is_no_zlib": png(chunk(*HEAD), chunk(b"IDAT", b"\xff" * 200), chunk(*END)),
    "colour_type_7": png(chunk(b"IHDR", HEAD[1][:9] + b"\x07" + HEAD[1][10:]), chunk(*BODY), chunk(*END)),
    "depth_3": png(chunk(b"IHDR", HEAD[1][:8] + b"\x03" + HEAD[1][9:]), chunk(*BODY), chunk(*END)),
    "negative_size": png(chunk(b"IHDR", b"\xff" * 8 + HEAD[1][8:]), chunk(*BODY), chunk(*END)),
    "short_header": png(chunk(b"IHDR", HEAD[1][:6]), chunk(*BODY), chunk(*END)),
    "chunk_longer_than_file": png(struct.pack(">I", 2**31 - 1) + b"IHDR" + HEAD[1]),
    "javascript": b"<script>alert(1)</script>" * 20, "elf": b"\x7fELF" + bytes(400),
    "gzip": b"\x1f\x8b\x08" + bytes(40),
    "mp4": b"\0\0\0\x18ftypmp42" + bytes(99), "wmf": b"\xd7\xcd\xc6\x9a" + bytes(90), "psd": b"8BPS\0\1" + bytes(60),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nsystemdict /deletefile get",
    "fits": b"SIMPLE  =                    T" + b" " * 2850, "xpm": b"/* XPM */ static char *x[] = {",
    "utf16": "no picture".encode("utf-16"), "npy": b"\x93NUMPY\1\0" + bytes(99),
}


def test_the_corpus_has_two_hundred_files() -> None:
    elsewhere = [UNREADABLE, ODD, LINKS, ZIP_FAULTS, TAR_FAULTS, TABLE_FAULTS]
    assert sum(map(len, elsewhere)) + len(READABLE) + len(REFUSED) >= 200


@pytest.mark.parametrize("name", READABLE)
def test_odd_pictures_are_read(name: str) -> None:
    assert decode(READABLE[name]).shape == (SIDE, SIDE, 3)


def test_broken_pictures_are_refused() -> None:
    read = []
    for name, data in REFUSED.items():
        try:
            decode(data)
            read.append(name)
        except DecodeError:
            continue
    assert read == []


def test_ingestion_finds_what_decoding_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task = write_task(tmp_path)
    for name, data in {**READABLE, **REFUSED}.items():
        (task / "train" / "0_real" / f"{name}.png").write_bytes(data)
    index = build_index(FolderSource(tmp_path), "gan", workers=1, progress=False)
    findings = audit_task(index, AuditConfig(quarantine=("unreadable",)))
    found = findings.loc[findings["finding"] == "unreadable"]
    assert {Path(path).stem for path in found["path"]} == set(REFUSED)
    output = capfd.readouterr()
    assert output.out + output.err == ""  # No library speaks to the terminal.
