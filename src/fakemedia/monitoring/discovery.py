"""Clusters of pictures that are far from what the detector knows, and a file in which a person labels them.

The embeddings, scaled to length 1, are clustered by k-means. Of each cluster a few pictures are to be labelled, those
nearest its centre first. A cluster is what looks alike to the network: a generator, a camera or content.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fakemedia.artefacts.files import moved, scratch_folder, write_file, writing
from fakemedia.artefacts.manifest import file_sha256
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.evaluation.novelty import unit

CLUSTERS = 5
PER_CLUSTER = 30
"""Pictures of a cluster to label."""
LABEL_FILE = "labels.csv"
HEADER = ("sha256", "cluster", "label")
LABELS = ("real", "fake", "")
"""The valid labels; empty: the picture is not used."""
TILE, COLUMNS = 128, 6
"""Of a contact sheet: side of a tile, pixels, and tiles in a row."""
IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm")


def cluster(embeddings: NDArray[np.floating], count: int = CLUSTERS) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the cluster of each of N pictures, from 1, the largest first, and its distance from the centre: (N,) each.

    Fewer than `count` clusters where there are fewer than PER_CLUSTER pictures for each.
    """
    from sklearn.cluster import KMeans  # takes seconds to import

    rows = unit(embeddings)
    clustering = KMeans(max(1, min(count, len(rows) // PER_CLUSTER)), n_init=4, random_state=0).fit(rows)  # pyright: ignore
    labels = np.asarray(clustering.labels_)
    order = np.argsort(-np.bincount(labels), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(1, len(order) + 1)
    return rank[labels].astype(np.int64), np.linalg.norm(rows - clustering.cluster_centers_[labels], axis=1)


def to_label(sha256: Iterable[str], clusters: NDArray[np.int64], distances: NDArray[np.float64]) -> pd.DataFrame:
    """Return the PER_CLUSTER pictures of each cluster that are nearest its centre, with the columns HEADER."""
    table = pd.DataFrame({"sha256": list(sha256), "cluster": clusters, "distance": distances, "label": ""})
    nearest = table.sort_values(["cluster", "distance"]).groupby("cluster").head(PER_CLUSTER)
    return nearest.loc[:, list(HEADER)].reset_index(drop=True)


def find_files(folder: Path, hashes: Iterable[str]) -> dict[str, Path]:
    """Return the picture files below `folder` with the SHA-256 `hashes`, by hash; UserError if there is no folder."""
    if not folder.is_dir():
        raise UserError("The folder of pictures does not exist", where=folder, expected="a folder with the pictures "
                        "that were scored")
    files, missing = {}, set(hashes)
    for path in sorted(folder.rglob("*")):
        if missing and path.suffix.lower() in IMAGES and path.is_file():
            sha256 = file_sha256(path)
            if sha256 in missing:
                files[sha256] = path
                missing.remove(sha256)
    return files


def contact_sheet(paths: Iterable[Path]) -> bytes:
    """Return the pictures as tiles of one PNG file; one that cannot be read is a grey tile."""
    tiles = [_tile(path) for path in paths]
    sheet = Image.new("RGB", (COLUMNS * TILE, -(-len(tiles) // COLUMNS) * TILE), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % COLUMNS * TILE, number // COLUMNS * TILE))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _tile(path: Path) -> Image.Image:
    from fakemedia.store.decode import DecodeError, read_picture

    try:
        return ImageOps.fit(Image.fromarray(read_picture(path.read_bytes()).pixels), (TILE, TILE))
    except (DecodeError, OSError):
        return Image.new("RGB", (TILE, TILE), "grey")


def discover(far: pd.DataFrame, folder: Path, pictures: Path | None) -> list[Path]:
    """Write the label file of the rows `far` of the log, `serving.log.read_far`, in `folder`; return the written files.

    With the folder `pictures`, a contact sheet of each cluster, in the order of the label file. UserError if no picture
    is far, or the label file there holds labels.
    """
    if far.empty:
        raise UserError("The log holds no picture that is unknown or unsure", where=folder,
                        expected="far pictures with embeddings", do="wait for more pictures")
    path = folder / LABEL_FILE
    if path.exists() and any(line.rstrip().endswith(("real", "fake")) for line in path.read_text().splitlines()):
        raise UserError("The label file holds labels already", where=path, do="move it away, then run again")
    files = find_files(pictures, far["sha256"]) if pictures else {}
    table = to_label(far["sha256"], *cluster(np.stack(far["embedding"].tolist())))
    sheets = {folder / f"cluster_{number}.png": [files[sha256] for sha256 in rows["sha256"] if sha256 in files]
              for number, rows in table.groupby("cluster")}
    outputs = {path: table.to_csv(index=False).encode(),
               **{sheet: contact_sheet(paths) for sheet, paths in sheets.items() if paths}}
    for old_sheet in folder.glob("cluster_*.png"):
        old_sheet.unlink()
    for output, data in outputs.items():
        write_file(output, data)
    return [*outputs]


def read_labels(path: Path, logged_hashes: Iterable[str]) -> Mapping[str, str]:
    """Return the labels, `real` or `fake`, that a person gave in a label file, by SHA-256.

    `logged_hashes` are the SHA-256 of the log. UserError for a file that cannot be read, pictures or labels that are
    unknown, a picture with two labels, and a file without any label.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The label file cannot be read ({error})", where=path, expected="a file of kedro monitor "
                        "--discover") from error
    if not rows or not set(HEADER) <= set(rows[0]):
        raise UserError("The label file lacks columns, or has no rows", where=path,
                        expected=f"the columns {', '.join(HEADER)}")
    known_hashes, labels = set(logged_hashes), {}
    for number, row in enumerate(rows, start=2):
        sha256, label = (row["sha256"] or "").strip(), (row["label"] or "").strip().lower()
        where = f"{path}, line {number}"
        if sha256 not in known_hashes:
            raise UserError(f"The log holds no picture {sha256!r}", where=where, expected="a SHA-256 of the log",
                            do="remove the line")
        if label not in LABELS:
            raise UserError(f"Unknown label {label!r}", where=where, expected="real, fake, or nothing")
        if label and labels.setdefault(sha256, label) != label:
            raise UserError("The picture has two labels", where=where, expected="one label a picture")
    if not labels:
        raise UserError("No picture has a label", where=path, expected="real or fake in the column label",
                        do="look at the contact sheets and fill it in")
    return labels


def write_labelled(labels: Mapping[str, str], files: Mapping[str, Path], folder: Path) -> dict[str, int]:
    """Copy the pictures that have a label to `folder`, as an update takes them; return how many were copied of each.

    `labels` and `files` by SHA-256. A picture without a file is left out. The folder appears complete, so that
    `kedro watch` never learns half of it. UserError if `folder` is not empty, and if no picture that is labelled fake
    has a file.
    """
    not_empty = UserError("The folder for the labelled pictures is not empty", where=folder,
                          expected="a new or empty folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise not_empty
    labelled = {sha256: label for sha256, label in labels.items() if sha256 in files}
    if "fake" not in labelled.values():
        raise UserError("No picture that is labelled fake was found", where="--pictures",
                        expected="a folder that holds the pictures of the label file")
    with writing(folder), scratch_folder(folder) as building:
        for sha256, label in labelled.items():
            class_folder = building / CLASS_FOLDERS[label == "fake"]
            class_folder.mkdir(exist_ok=True)
            shutil.copyfile(files[sha256], class_folder / f"{sha256}{files[sha256].suffix.lower()}")
        if not moved(building, folder):
            raise not_empty
    return dict(Counter(labelled.values()))
