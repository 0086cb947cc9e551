"""Decoding once, keeping under a policy, streaming, bounded disk, and builds that were killed."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.artefacts.files import GIB
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest import audit as auditing
from fakemedia.ingest import build_store as building
from fakemedia.ingest import facts as measuring
from fakemedia.ingest import index as indexing
from fakemedia.ingest.audit import findings_recipe
from fakemedia.ingest.build_store import build_store, ensure_store, store_recipe
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index, index_parts, index_recipe, refreshed
from fakemedia.ingest.parts import index_content, read_index, write_index
from fakemedia.sources.folder import FolderSource
from fakemedia.store import decode as decode_module
from fakemedia.store import pixels as storing
from fakemedia.store import policies
from fakemedia.store import pool as pooling
from fakemedia.store.decode import decode
from fakemedia.store.pixels import PixelStore
from fakemedia.store.pool import PixelWriter, Pool, Room

RECIPE = index_recipe("gan", {"name": "folder"})


def write_task(root: Path, images: int = 3, size: tuple[int, int] = (20, 30)) -> FolderSource:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name in CLASS_FOLDERS:
            folder = root / "gan" / split / name
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return FolderSource(root)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return write_task(tmp_path / "raw")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every image that is decoded."""
    seen: list[int] = []
    for module, name in ((measuring, "read_picture"), (storing, "decode")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda data, real=real: (seen.append(1), real(data))[1])
    return seen


def ingest(source: FolderSource, work: Path, policy: str = "native",
           room: Room | None = None) -> tuple[pd.DataFrame, PixelStore]:
    folder = work / "index"
    previous = read_index(folder) if folder.exists() else None
    pool = Pool(work / "decoded", policy=policy, room=room or Room())
    index = index_parts(source, "gan", folder, RECIPE, workers=1, previous=previous, pool=pool, progress=False).frame()
    stores = [ensure_store(index, source, split, work / split, policy=policy, pool=work / "decoded" / split,
                           room=room, workers=2, progress=False) for split in SPLITS]
    return index, stores[0]


def test_an_image_is_decoded_once(source: FolderSource, tmp_path: Path, decoded: list[int]) -> None:
    index, store = ingest(source, tmp_path / "work")
    assert len(decoded) == len(index) == 18
    for i, path in enumerate(index.loc[index["split"] == "train", "path"]):
        np.testing.assert_array_equal(store[i], decode(source.reader(path)()))
    store.verify()
    decoded.clear()
    again, _ = ingest(source, tmp_path / "work")
    assert decoded == []
    pd.testing.assert_frame_equal(again, index)

    Image.new("RGB", (9, 9), (1, 2, 3)).save(source.root / "gan/train/1_fake/0.png")
    Image.new("RGB", (9, 8), (3, 2, 1)).save(source.root / "gan/train/0_real/new.png")
    changed, store = ingest(source, tmp_path / "work")
    assert len(decoded) == 2
    assert len(changed) == 19
    store.verify()
    for i, path in enumerate(changed.loc[changed["split"] == "train", "path"]):
        np.testing.assert_array_equal(store[i], decode(source.reader(path)()))


def test_an_unreadable_file_is_tried_again(source: FolderSource) -> None:
    path = source.root / "gan/train/0_real/0.png"
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(whole)))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    index = build_index(source, "gan", workers=1, progress=False)
    assert (index["error"] != "").sum() == 1
    path.write_bytes(whole)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert (build_index(source, "gan", workers=1, previous=index, progress=False)["error"] == "").all()


def test_copies_share_their_pixels(source: FolderSource, tmp_path: Path) -> None:
    fakes = source.root / "gan/train/1_fake"
    (fakes / "copy.png").write_bytes((fakes / "0.png").read_bytes())
    _, store = ingest(source, tmp_path / "work")
    assert len(store) == 7
    assert (store.folder / "pixels.u8").stat().st_size == 6 * 20 * 30 * 3
    crops = store.crops(np.arange(7), np.zeros(7, int), np.zeros(7, int), 16)
    for i in range(7):
        np.testing.assert_array_equal(crops[i], store[i][:16, :16])


@pytest.mark.parametrize(("policy", "shape"), [("native", (20, 30, 3)), ("resize:10", (10, 15, 3)),
                                               ("resize:40", (40, 60, 3)), ("jpeg:50", (20, 30, 3))])
def test_policies(source: FolderSource, tmp_path: Path, policy: str, shape: tuple[int, ...]) -> None:
    index, store = ingest(source, tmp_path / "work", policy)
    image = decode(source.reader(index.loc[index["split"] == "train", "path"].iloc[0])())
    assert (store.policy, store[0].shape) == (policy, shape)
    if policy == "jpeg:50":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=50)
        image = decode(buffer.getvalue())
    elif policy != "native":
        image = np.asarray(Image.fromarray(image).resize(shape[1::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(store[0], image)
    stream = streamed(index, source, tmp_path, policy)
    np.testing.assert_array_equal(stream[0], image)
    assert (stream.heights[0], stream.widths[0]) == shape[:2]


def test_another_policy_makes_another_store(source: FolderSource, tmp_path: Path) -> None:
    _, native = ingest(source, tmp_path / "work")
    _, small = ingest(source, tmp_path / "work", "resize:10")
    assert small.folder == native.folder
    assert small.fingerprint != native.fingerprint
    assert small[0].shape == (10, 15, 3)


def streamed(index: pd.DataFrame, source: FolderSource, folder: Path, policy: str = "native") -> PixelStore:
    return build_store(index, source, "train", folder / "stream", policy=policy, workers=1, progress=False, stream=True)


def test_a_streaming_store_gives_the_same_crops_without_pixels(source: FolderSource, tmp_path: Path) -> None:
    index, store = ingest(source, tmp_path / "work")
    stream = pickle.loads(pickle.dumps(streamed(index, source, tmp_path)))
    assert stream.streams
    assert sorted(path.name for path in stream.folder.iterdir()) == ["images.parquet", "manifest.json"]
    assert stream.fingerprint == store.fingerprint
    rows, tops, lefts = np.array([3, 0, 5]), np.array([4, 0, 2]), np.array([1, 7, 3])
    np.testing.assert_array_equal(stream.crops(rows, tops, lefts, 16), store.crops(rows, tops, lefts, 16))
    stream.verify()
    path = source.root / str(index.loc[index["split"] == "train", "path"].iloc[0])
    path.write_bytes((source.root / "gan/train/1_fake/1.png").read_bytes())
    with pytest.raises(UserError, match="changed after it was indexed"):
        _ = stream[0]
    path.unlink()
    with pytest.raises(UserError, match=r"cannot be read: .*No such file"):
        _ = stream[0]
    with pytest.raises(UserError, match="was opened without its image files"):
        _ = PixelStore.open(stream.folder)[0]


@pytest.mark.parametrize("change", ["moved", "renamed"])
def test_a_streaming_store_survives_a_moved_folder_and_renamed_files(source: FolderSource, tmp_path: Path,
                                                                      decoded: list[int], change: str) -> None:
    """It failed for good, and ingesting again did not help, since the contents were the same."""
    index = build_index(source, "gan", workers=1, progress=False)
    before = streamed(index, source, tmp_path)
    pictures = [before[i].copy() for i in range(len(before))]
    for path in sorted(source.root.rglob("*.png")) if change == "renamed" else ():
        path.rename(path.with_name(f"image_{path.name}"))
    today = source if change == "renamed" else FolderSource(source.root.rename(tmp_path / "elsewhere"))
    decoded.clear()
    again = build_index(today, "gan", workers=1, previous=index, progress=False)
    assert decoded == []
    after = ensure_store(again, today, "train", before.folder, stream=True, workers=1, progress=False)
    assert after.fingerprint == before.fingerprint
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(after[i], picture)


def test_nothing_that_is_kept_names_an_absolute_path(source: FolderSource, tmp_path: Path) -> None:
    index, store = ingest(source, tmp_path / "work")
    stream = streamed(index, source, tmp_path / "work")
    for path in (*store.folder.iterdir(), *stream.folder.iterdir(), *(tmp_path / "work/index").iterdir()):
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("change", ["touched", "copied"])
def test_touched_and_copied_files_stay_current(source: FolderSource, tmp_path: Path, decoded: list[int],
                                               change: str) -> None:
    """A new time of change made everything stale."""
    index, store = ingest(source, tmp_path / "work")
    if change == "touched":
        for path in source.root.rglob("*.png"):
            os.utime(path, ns=(1, 1))
    else:
        shutil.copytree(source.root, tmp_path / "copy", copy_function=shutil.copyfile)
        source = FolderSource(tmp_path / "copy")
    decoded.clear()
    found = refreshed(index, source, "gan")
    assert found is not None
    assert set(found["mtime_ns"]) == {item.mtime_ns for item in source.items("gan")}
    assert index_content(found) == index_content(index)
    again, kept = ingest(source, tmp_path / "work")
    assert decoded == []
    assert kept.fingerprint == store.fingerprint
    pd.testing.assert_frame_equal(again, found)


def test_a_file_of_the_same_size_and_other_content_is_stale(source: FolderSource) -> None:
    path = source.root / "gan/train/0_real/0.png"
    index = build_index(source, "gan", workers=1, progress=False)
    path.write_bytes(bytes(path.stat().st_size))
    assert refreshed(index, source, "gan") is None


def test_recipes_follow_versions_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed algorithm makes what it made stale."""
    def recipes() -> dict[str, str]:
        return {"index": index_recipe("gan", {"name": "folder", "root": "a"}).fingerprint,
                "audit": findings_recipe("content", AuditConfig()).fingerprint,
                "store": store_recipe("content").fingerprint}

    before = recipes()
    assert index_recipe("gan", {"name": "folder", "root": "b"}).fingerprint == before["index"]
    assert index_recipe("gan", {"name": "folder", "root": "a", "x": 1}).fingerprint != before["index"]
    assert store_recipe("content", policy="jpeg:90").fingerprint != before["store"]
    assert store_recipe("content", stream=True).fingerprint != before["store"]
    assert findings_recipe("content", AuditConfig(imbalance=3.0)).fingerprint != before["audit"]
    for module, stale in ((indexing, {"index"}), (auditing, {"audit"}), (building, {"store"}), (policies, {"store"}),
                          (decode_module, {"index", "store"})):
        with monkeypatch.context() as patch:
            patch.setattr(module, "VERSION", 99)
            assert {name for name, value in recipes().items() if value != before[name]} == stale
    with monkeypatch.context() as patch:
        patch.setattr(plugin, "constant", lambda kind, name, key, default: 99)
        assert {name for name, value in recipes().items() if value != before[name]} == {"index"}


def test_the_disk_is_bounded(source: FolderSource, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)more than 1e-05 GiB.*raise max_gib, set stream: true"):
        ingest(source, tmp_path / "work", room=Room(total=1e-5 * GIB, remaining=1e-5 * GIB))
    assert not list((tmp_path / "work").iterdir())


def test_a_full_disk_is_told(source: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "_open_uncached", lambda path: os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(UserError, match=r"(?s)No space left on device.*free space"):
        ingest(source, tmp_path / "work")
    assert os.listdir(tmp_path / "work") == ["index"]


@pytest.mark.parametrize("refused", ["opening", "writing", "nothing"])
def test_pixels_are_the_same_with_and_without_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             refused: str) -> None:
    opened, wrote = os.open, os.write

    def open_file(path: Path, flags: int, mode: int) -> int:
        if refused == "opening" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, mode)

    def write(file: int, data: memoryview) -> int:
        if refused == "writing" and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return wrote(file, data)

    pictures = [np.full((70, 70, 3), number, np.uint8) for number in range(5)]
    monkeypatch.setattr(pooling, "BLOCK", 2**14)
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "write", write)
    with PixelWriter(tmp_path / "pixels", Room()) as writer:
        for number, pixels in enumerate(pictures):
            writer.write(str(number), pixels, "")
    monkeypatch.undo()
    assert (tmp_path / "pixels").read_bytes() == b"".join(pixels.tobytes() for pixels in pictures)
    assert writer.locations["1"] == (14700, 70, 70, "")


KILLED = """
import sys, time
from pathlib import Path
from fakemedia.artefacts import files
from fakemedia.ingest import build_store, index, parts
from fakemedia.store.pool import PixelWriter, Pool, Room
from fakemedia.sources import data_folders
from fakemedia.sources.folder import FolderSource
source, work = FolderSource(Path(sys.argv[1])), Path(sys.argv[2])
real = files.read_regular
seen = []

def read(path, size):
    seen.append(path)
    if len(seen) > 6:
        print("half", flush=True)
        time.sleep(60)
    return real(path, size)

data_folders.read_regular = read
if sys.argv[3] == "index":
    with Pool(work / "decoded", policy="native", room=Room()) as pool:
        index.build_index(source, "gan", workers=1, pool=pool, progress=False)
else:
    seen.extend("123")
    table = parts.read_index(work / "index")
    build_store.build_store(table, source, "train", work / "train", workers=1, progress=False)
"""


@pytest.mark.parametrize("what", ["index", "store"])
def test_a_build_that_was_killed_leaves_nothing_that_is_used(tmp_path: Path, what: str) -> None:
    source, work = write_task(tmp_path / "raw"), tmp_path / "work"
    work.mkdir()
    index = build_index(source, "gan", workers=1, progress=False)
    write_index(index, work / "index", RECIPE)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(source.root), str(work), what],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    target = {"index": "decoded", "store": "train"}[what]
    half = [path for path in work.iterdir() if path.name.startswith(f".{target}.")]
    assert len(half) == 1
    if what == "store":  # A living builder's folder is left alone.
        build_store(index, source, "train", work / "train", workers=1, progress=False)
        assert half[0].exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert half[0].exists()
    _, store = ingest(source, work)
    store.verify()
    assert sorted(path.name for path in work.iterdir()) == ["decoded", "index", "test", "train", "val"][
        0 if what == "index" and (work / "decoded").exists() else 1:]


def test_ycck_is_read_as_cmyk(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 16), (128, 128, 128, 0)).save(buffer, "JPEG", quality=95)
    data = bytearray(buffer.getvalue())
    adobe = data.index(b"Adobe")
    data[adobe + 11] = 2  # The Adobe marker's transform: YCCK.
    grey = decode(bytes(data))
    assert grey.shape == (16, 16, 3)
    np.testing.assert_allclose(grey.astype(int), 127, atol=4)
