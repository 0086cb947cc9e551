"""Ingestion against the decoder alone: speed of a cold and of a second run, of random crops, and peak memory.

    python benchmarks/ingest.py --photographs ../shared/photos/bsds500 [--images 10000] [--json]

Rates are those of this machine at this moment; the ratios count.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import operator
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest.build_store import build_store, ensure_store
from fakemedia.ingest.index import index_parts, index_recipe
from fakemedia.ingest.parts import COLUMNS, Index, read_index
from fakemedia.ingest.process_pool import ALLOCATION
from fakemedia.sources.folder import FolderSource
from fakemedia.sources.source import Item
from fakemedia.store.decode import content_id, decode
from fakemedia.store.pixels import PixelStore
from fakemedia.store.pool import PixelWriter, Pool, Room

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


def ingest(source: FolderSource, work: Path) -> Index:
    """Index and store the task as the pipeline does."""
    folder, recipe = work / "index", index_recipe("bench", {"name": "folder"})
    previous = read_index(folder) if folder.exists() else None
    pool = Pool(work / "decoded", policy="native", room=Room())
    index = index_parts(source, "bench", folder, recipe, workers=CORES, previous=previous, pool=pool, progress=False)
    for split in SPLITS:
        ensure_store(index, source, split, work / split, pool=work / "decoded" / split, workers=CORES, progress=False)
    return index


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long `work` takes by `clock`, seconds."""
    start = clock()
    work()
    return clock() - start


def decoder_seconds(paths: list[Path]) -> float:
    """Return what Pillow alone takes from the bytes of an image to an array, on one core, seconds."""
    files = [path.read_bytes() for path in paths]
    start = time.perf_counter()
    for data in files:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return (time.perf_counter() - start) / len(files)


def decoder_elsewhere(paths: list[Path], environment: dict[str, str]) -> float:
    """Return `decoder_seconds` of a new process."""
    code = "import sys, json, pathlib; sys.path.insert(0, sys.argv[1]); from ingest import decoder_seconds; " \
           "print(decoder_seconds(list(map(pathlib.Path, json.load(sys.stdin)))))"
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], text=True, check=True,
                          input=json.dumps([str(path) for path in paths]), stdout=subprocess.PIPE,
                          env={**os.environ, **environment})
    return float(done.stdout)


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

    def reader(self, path: str) -> Callable[[], bytes]:
        return partial(operator.add, self._data, path.encode())


def status_kib(process: str, *keys: str) -> int:
    """Return the sum of some memory figures of /proc/<process>/status, KiB; 0 if the process has ended."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path("/proc", process, "status").read_text().splitlines()]
        return sum(int(line[1]) for line in lines if line and line[0].rstrip(":") in keys)
    return 0


def peak_kib(process: str) -> int:
    """Return the most memory that a process has had, KiB; 0 if it has ended."""
    return status_kib(process, "VmHWM")


@contextlib.contextmanager
def peaks_of_children() -> Iterator[dict[str, int]]:
    """Watch the processes that this one starts in the block; yield the peak memory of each, KiB."""
    peaks: dict[str, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for process in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                peaks[process] = max(peaks.get(process, 0), peak_kib(process))

    thread = threading.Thread(target=watch)
    thread.start()
    yield peaks
    done.set()
    thread.join()


def peak_gib(total_gib: float, work: Path, side: int = 2048) -> float:
    """Return the peak memory of building a store of `total_gib` or of drawing crops from all over it, GiB.

    For building it is the sum of the peaks of this process, counted from its start, and of those that decode for it;
    for drawing, the memory of this process without the memory map, whose pages the system can reclaim. The pixels,
    which are black, go to a sparse file.
    """
    source = Repeated(side)
    count = round(total_gib * 2**30 / (3 * side * side))
    names = [f"{number:06d}" for number in range(count)]
    blank = {column: "" if kind == "str" else 0 for column, kind in COLUMNS.items()}
    index = pd.DataFrame([{**blank, "id": content_id(source.reader(name)()), "path": name, "task": "large",
                           "split": "train", "label": number % 2, "width": side, "height": side}
                          for number, name in enumerate(names)], columns=list(COLUMNS)).astype(COLUMNS)

    def skip(self: PixelWriter, data: memoryview) -> None:
        os.ftruncate(self._file, os.lseek(self._file, len(data), os.SEEK_CUR))

    PixelWriter._put = skip  # type: ignore[method-assign]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present from here on
    with peaks_of_children() as peaks:
        store = build_store(index, source, "train", work / "large", workers=CORES, progress=False)
    assert (store.folder / "pixels.u8").stat().st_size == 3 * side * side * count
    building = peak_kib("self") + sum(peaks.values())
    drawing = []
    rows = np.random.default_rng(0).integers(0, count, 2000)
    for start in range(0, len(rows), 64):
        part = rows[start:start + 64]
        store.crops(part, np.full(len(part), 500), np.full(len(part), 700), 128)
        drawing.append(status_kib("self", "RssAnon", "RssShmem"))
    return max(building, *drawing) / 2**20


def processor_time() -> float:
    """Return the processor time of this process and of those that it started and that have ended, seconds."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(photographs: Path, images: int, total_gib: float, folder: Path) -> dict[str, float]:
    """Return all figures; forge, ingest twice, crop, and build the large store."""
    if not (folder / "raw").exists():
        forge(photographs, folder / "raw", images)
    source, work = FolderSource(folder / "raw"), folder / "work"
    work.mkdir()
    paths = [item.path for item in source.items("bench")]
    sample = [source.root / path for path in paths[::max(1, len(paths) // 500)]]
    before = [decoder_elsewhere(sample, environment) for environment in ({}, ALLOCATION)]
    used = processor_time()
    cold = seconds(lambda: ingest(source, work))
    used = processor_time() - used
    after = [decoder_elsewhere(sample, environment) for environment in ({}, ALLOCATION)]
    plain, kept = ((first + second) / 2 for first, second in zip(before, after, strict=True))
    again = min(seconds(lambda: ingest(source, work)) for _ in range(3))
    ratio = crop_ratio(source, read_index(work / "index").frame(), PixelStore.open(work / "train"))
    rate = len(paths) / cold
    return {
        "images": len(paths), "cores": CORES, "cold_images_per_second": rate, "cold_seconds": cold,
        "decoder_images_per_second": 1 / plain, "decoder_keeping_memory_images_per_second": 1 / kept,
        "cold_over_decoder": rate * plain / CORES, "cold_over_decoder_keeping_memory": rate * kept / CORES,
        "processor_seconds_an_image": used / len(paths),
        "second_over_first": again / cold, "crops_over_decoding": ratio,
        "peak_gib": peak_gib(total_gib, folder) if total_gib else float("nan"), "large_store_gib": total_gib,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of JPEG photographs")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--large-gib", type=float, default=20, help="size of the store for the memory figure; 0: none")
    parser.add_argument("--work", type=Path, help="an empty folder, or one with the images of an earlier benchmark; "
                        "default: a temporary one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        found = measure(options.photographs, options.images, options.large_gib, folder)
        for made in ("work", "large"):
            shutil.rmtree(folder / made, ignore_errors=True)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    cold, plain, kept = (found[f"{name}_images_per_second"] for name in ("cold", "decoder", "decoder_keeping_memory"))
    print(f"{found['images']} images on {CORES} cores: {cold:.0f} a second; the decoder alone {plain:.0f} on one core, "
          f"{kept:.0f} if it keeps its memory")
    for name, value, bound in (("cold ingest / (cores x decoder)", found["cold_over_decoder"], "at least 0.8"),
                               ("the same, decoder keeping memory", found["cold_over_decoder_keeping_memory"], ""),
                               ("second run / first run", found["second_over_first"], "below 0.02"),
                               ("crops from the store / decoding", found["crops_over_decoding"], "at least 20"),
                               ("peak memory, GiB", found["peak_gib"], "below 1.5")):
        print(f"{name:34} {value:8.3f}   {bound}")


if __name__ == "__main__":
    main()
