"""Clusters of far pictures, their contact sheets and label files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.artefacts.manifest import file_sha256
from fakemedia.core.errors import MachineError, UserError
from fakemedia.monitoring.discovery import (
    PER_CLUSTER,
    cluster,
    contact_sheet,
    discover,
    find_files,
    read_labels,
    to_label,
    write_labelled,
)
from fakemedia.serving.log import read_far
from tests.monitoring.streams import write_pictures


def test_clusters_are_what_lies_together() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], [80, 40])
    rows = np.eye(4)[truth] * rng.uniform(1, 9, (120, 1)) + rng.normal(0, 0.05, (120, 4))
    found, distances = cluster(rows, 2)
    assert (found == truth + 1).all(), "the larger one is first; length does not matter"
    table = to_label(map(str, range(120)), found, distances)
    assert table["cluster"].tolist() == [1] * PER_CLUSTER + [2] * PER_CLUSTER
    first = table["sha256"].astype(int).to_numpy()[:PER_CLUSTER]
    assert distances[first].max() <= np.delete(distances[:80], first).min()
    assert set(cluster(rows[:35], 5)[0]) == {1}


def test_from_the_log_to_a_label_file(tmp_path: Path) -> None:
    log, folder, pictures = tmp_path / "log.db", tmp_path / "discovery", tmp_path / "pictures"
    write_pictures(log, 80, verdict="unknown")
    write_pictures(log, 40, first=80, verdict="fake")
    write_pictures(log, 10, verdict="unknown")
    far = read_far(log, detector="d")
    assert len(far) == 80
    assert len(read_far(log, detector="d", limit=30)) == 30
    pictures.mkdir()
    Image.new("RGB", (9, 9), "red").save(pictures / "red.png")
    far.loc[0, "sha256"] = file_sha256(pictures / "red.png")
    written = discover(far, folder, pictures)
    assert written[0] == folder / "labels.csv"
    table = pd.read_csv(written[0])
    assert list(table) == ["sha256", "cluster", "label"]
    assert set(table["cluster"]) == {1, 2}
    assert len(discover(far, folder, None)) == 1, "without pictures no contact sheets"
    assert not list(folder.glob("*.png"))
    written[0].write_text(written[0].read_text().replace(",1,\n", ",1,fake\n", 1))
    with pytest.raises(UserError, match="holds labels already"):
        discover(far, folder, None)
    with pytest.raises(UserError, match="no picture that is unknown"):
        discover(far.head(0), folder, None)


def test_pictures_are_found_by_content(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (50, 30), "red").save(tmp_path / "sub" / "red.png")
    (tmp_path / "damaged.jpg").write_bytes(b"none")
    wanted = {file_sha256(path): path for path in (tmp_path / "sub/red.png", tmp_path / "damaged.jpg")}
    assert find_files(tmp_path, [*wanted, "f" * 64]) == wanted
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(reversed(wanted.values())))))
    assert sheet.shape == (128, 768, 3)
    assert sheet[64, 64].tolist() == [128, 128, 128]
    assert sheet[64, 192].tolist() == [255, 0, 0]
    with pytest.raises(UserError, match="does not exist"):
        find_files(tmp_path / "none", wanted)


def test_labels_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("sha256,cluster,label\na,1,fake\nb,1, Real \nc,2,\n")
    assert read_labels(path, "abc") == {"a": "fake", "b": "real"}


@pytest.mark.parametrize(("text", "part"), [
    ("sha256,cluster,label\nz,1,fake\n", "no picture 'z'.*line 2"), ("sha256,cluster,label\na,1,maybe\n", "'maybe'"),
    ("sha256,cluster,label\na,1,fake\na,1,real\n", "two labels"), ("sha256,cluster,label\na,1,\n", "No picture has"),
    ("sha256,label\na,fake\n", "lacks columns"), ("", "lacks columns"), (None, "cannot be read")])
def test_bad_label_files_are_one_message(tmp_path: Path, text: str | None, part: str) -> None:
    path = tmp_path / "labels.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=f"(?s){part}"):
        read_labels(path, "abc")


def test_labelled_pictures_become_the_folder_of_an_update(tmp_path: Path) -> None:
    files = {}
    for name, text in (("a", b"A"), ("b", b"B"), ("c", b"C")):
        files[name] = tmp_path / f"{name}.PNG"
        files[name].write_bytes(text)
    out = tmp_path / "out"
    assert write_labelled({"a": "fake", "b": "real", "gone": "fake"}, files, out) == {"fake": 1, "real": 1}
    written = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.*")}
    assert written == {"1_fake/a.png": b"A", "0_real/b.png": b"B"}
    with pytest.raises(UserError, match="is not empty"):
        write_labelled({"a": "fake"}, files, out)
    with pytest.raises(UserError, match="No picture that is labelled fake"):
        write_labelled({"a": "real", "gone": "fake"}, files, tmp_path / "other")


def test_labelled_pictures_appear_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"A")
    with pytest.raises(MachineError, match=r"lost\.png"):
        write_labelled({"a": "fake", "b": "fake"}, {"a": tmp_path / "a.png", "b": tmp_path / "lost.png"},
                       tmp_path / "inbox/new")
    assert not list((tmp_path / "inbox").iterdir())
