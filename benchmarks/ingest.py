"""Ingestion against the decoder alone: speed of a cold and of a second run, of random crops, and peak memory.

    python benchmarks/ingest.py --photographs ../shared/photos/bsds500 [--images 10000] [--json]

Everything is written to a temporary folder. Rates are those of this machine at this moment; the ratios count.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.data.decode import decode
from fakemedia.data.index import COLUMNS, build_index, read_index, write_index
from fakemedia.data.pixels import PixelStore, build_store, ensure_store
from fakemedia.data.pool import Pool, Room
from fakemedia.data.sources.base import Item
from fakemedia.data.sources.folder import FolderSource

CORES = len(os.sched_getaffinity(0))
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def forge(photographs: Path, root: Path, images: int) -> None:
    """Write `images` different JPEGs, shifted and mirrored photographs in their own size."""
    pictures = [Image.open(path).convert("RGB") for path in sorted(photographs.rglob("*.jpg"))]
    number = 0
    for split in SPLITS:
        for name in CLASS_FOLDERS:
            folder = root / "bench" / split / name
            folder.mkdir(parents=True)
            for _ in range(round(images * SHARES[split] / 2)):
                pixels = np.roll(np.asarray(pictures[number % len(pictures)]), number // len(pictures) * 7, 1)
                Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=90)
                number += 1


def ingest(source: FolderSource, work: Path) -> pd.DataFrame:
    """Index and store the task as the pipeline does."""
    path = work / "index.parquet"
    previous = read_index(path) if path.exists() else None
    with Pool(work / "decoded", policy="native", room=Room()) as pool:
        index = build_index(source, "bench", workers=CORES, previous=previous, pool=pool, progress=False)
    write_index(index, path)
    for split in SPLITS:
        ensure_store(index, source, split, work / split, pool=work / "decoded" / split, workers=CORES, progress=False)
    return index


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long `work` takes by `clock`, seconds."""
    start = clock()
    work()
    return clock() - start


def decoder_seconds(source: FolderSource, paths: list[str]) -> np.ndarray:
    """Return what Pillow alone takes from the bytes of an image to an array, on one core: wall and processor time."""
    files = [source.reader(path)() for path in paths]
    start = np.array([time.perf_counter(), time.process_time()])
    for data in files:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return (np.array([time.perf_counter(), time.process_time()]) - start) / len(files)


def crop_ratio(source: FolderSource, index: pd.DataFrame, store: PixelStore, count: int = 640,
               size: int = 128) -> float:
    """Return how many times faster random crops come out of the store than out of the decoder."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(store), count)
    paths = index.loc[index["split"] == "train", "path"].to_numpy()[rows]
    tops, lefts = (rng.integers(0, limit + 1) for limit in store.limits(rows, size))

    def decoded() -> None:
        for path, top, left in zip(paths, tops, lefts, strict=True):
            np.ascontiguousarray(decode(source.reader(path)())[top:top + size, left:left + size])

    def stored() -> None:
        for start in range(0, count, 64):
            part = slice(start, start + 64)
            store.crops(rows[part], tops[part], lefts[part], size)

    stored()
    return seconds(decoded) / min(seconds(stored) for _ in range(3))


class Repeated:
    """Many images of one large picture, each of another id."""

    def __init__(self, pixels: int) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (pixels, pixels)).save(buffer, "PNG", compress_level=1)
        self._data = buffer.getvalue()

    def tasks(self) -> list[str]:
        return ["large"]

    def items(self, task: str) -> list[Item]:
        return []

    def read(self, path: str) -> bytes:
        return self._data + path.encode()


def peak_gib(total_gib: float, work: Path, side: int = 2048) -> float:
    """Return the peak memory of building a store of `total_gib`, GiB, and of drawing crops from all over it.

    The pixels go to a sparse file: what is black is not written.
    """
    from fakemedia.data import pool
    from fakemedia.data.index import content_id

    source = Repeated(side)
    count = round(total_gib * 2**30 / (3 * side * side))
    names = [f"{number:06d}" for number in range(count)]
    blank = {column: "" if kind == "str" else 0 for column, kind in COLUMNS.items()}
    index = pd.DataFrame([{**blank, "id": content_id(source.read(name)), "path": name, "task": "large",
                           "split": "train", "label": number % 2, "width": side, "height": side}
                          for number, name in enumerate(names)], columns=list(COLUMNS)).astype(COLUMNS)

    def write(self: pool.PixelWriter, id: str, pixels: np.ndarray) -> None:
        self.places[id] = (self.bytes, *pixels.shape[:2], pool.checksum(pixels.data))
        self.bytes += pixels.nbytes
        os.ftruncate(self._file.fileno(), self.bytes)

    pool.PixelWriter.write = write  # type: ignore[method-assign]
    store = build_store(index, source, "train", work / "large", workers=CORES, progress=False)
    assert (store.folder / "pixels.u8").stat().st_size == 3 * side * side * count
    rows = np.random.default_rng(0).integers(0, count, 2000)
    for start in range(0, len(rows), 64):
        part = rows[start:start + 64]
        store.crops(part, np.full(len(part), 500), np.full(len(part), 700), 128)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(photographs: Path, images: int, total_gib: float) -> dict[str, float]:
    """Return all figures; forge, ingest twice, crop, and build the large store."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        forge(photographs, folder / "raw", images)
        source, work = FolderSource(folder / "raw"), folder / "work"
        work.mkdir()
        paths = [item.path for item in source.items("bench")]
        sample = paths[::max(1, len(paths) // 500)]
        before = decoder_seconds(source, sample)
        processor = time.process_time()
        cold = seconds(lambda: ingest(source, work))
        processor = time.process_time() - processor
        one, one_processor = (before + decoder_seconds(source, sample)) / 2
        again = seconds(lambda: ingest(source, work))
        ratio = crop_ratio(source, read_index(work / "index.parquet"), PixelStore.open(work / "train"))
        return {
            "images": len(paths), "cores": CORES, "decoder_images_per_second": 1 / one,
            "cold_images_per_second": len(paths) / cold, "cold_over_decoder": len(paths) / cold * one / CORES,
            "decoder_over_ingest_processor_time": one_processor * len(paths) / processor,
            "second_over_first": again / cold, "crops_over_decoding": ratio,
            "peak_gib": peak_gib(total_gib, folder), "large_store_gib": total_gib,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of JPEG photographs")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--large-gib", type=float, default=20, help="size of the store for the memory figure")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = measure(options.photographs, options.images, options.large_gib)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value, bound in (("cold ingest / (cores x decoder)", found["cold_over_decoder"], "at least 0.8"),
                               ("decoder / ingest, processor time", found["decoder_over_ingest_processor_time"],
                                "on a busy machine"),
                               ("second run / first run", found["second_over_first"], "below 0.02"),
                               ("crops from the store / decoding", found["crops_over_decoding"], "at least 20"),
                               ("peak memory, GiB", found["peak_gib"], "below 1.5")):
        print(f"{name:34} {value:8.3f}   ({bound})")


if __name__ == "__main__":
    main()
