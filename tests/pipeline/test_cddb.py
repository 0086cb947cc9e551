"""A miniature of CDDB in the layout of its archives goes through the ingestion."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from fakemedia.ingest.parts import read_index
from fakemedia.sources import cddb
from fakemedia.store.pixels import PixelStore
from tests.pipeline.conftest import run

CLASSES = {"cyclegan": ("horse", "zebra"), "glow": ("black_hair", "smiling"), "stylegan": ("bedroom", "cat"),
           "stargan_gf": ("black_hair", "blond_hair")}
TASKS = ("biggan", "crn", "cyclegan", "deepfake", "gaugan", "glow", "imle", "san", "stargan_gf", "stylegan",
         "whichfaceisreal", "wild")
PER_CLASS = {"train": 8, "val": 2}


def write_miniature(root: Path) -> None:
    """Write CDDB.tar.zip: 12 tasks with 8 + 2 images of each class, four of them with class folders."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for task in TASKS:
            classes = CLASSES.get(task, ("",))
            for split, count in PER_CLASS.items():
                for content in classes:
                    for label in ("0_real", "1_fake"):
                        for number in range(count // len(classes)):
                            folder = "/".join(part for part in ("CDDB", task, split, content, label) if part)
                            info = tarfile.TarInfo(f"{folder}/{number:04d}.png")
                            data = picture(rng)
                            info.size = len(data)
                            tar.addfile(info, io.BytesIO(data))
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "CDDB.tar.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        outer.writestr("CDDB.tar", buffer.getvalue())


def picture(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_ingestion_of_the_archive_as_it_comes(full_project: Path) -> None:
    project = full_project
    root = project / "data/01_raw/cddb"
    write_miniature(root)
    source = cddb.build(cddb.Config(root=str(root)))
    assert tuple(source.tasks()) == cddb.TASKS
    assert {item.class_name for item in source.items("stargan")} == {"black_hair", "blond_hair"}

    run(project, pipeline_names=["cddb_short"], tags=["ingestion"])
    for task in ("gaugan", "cyclegan", "faceforensics"):
        index = read_index(project / f"data/02_intermediate/cddb/{task}/index").frame()
        assert index.groupby(["split", "label"]).size().to_dict() == {
            ("train", 0): 6, ("train", 1): 6, ("val", 0): 2, ("val", 1): 2, ("test", 0): 2, ("test", 1): 2}
        assert len(PixelStore.open(project / f"data/03_primary/cddb/{task}/train")) == 12
    verdict = json.loads((project / "data/08_reporting/cddb_short/audit/verdict.json").read_text())
    assert (verdict["verdict"], verdict["left_out"]) == ("pass", 0)
    assert set(verdict["tasks"]["wild"]["findings"]) == {"cut"}
    assert "No problems found" in (project / "data/08_reporting/cddb_short/audit/audit.html").read_text()
    assert (project / "data/08_reporting/cddb_short/audit/containers.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in root.iterdir()) == [".CDDB.tar.zip.plain.tar", "CDDB.tar.zip"]
