"""Flipped bits in stored results: found by the plan if the file changed, and when it is read in any case."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession

from fakemedia.artefacts.manifest import manifest_path, read_manifest
from fakemedia.catalog.artefact import Artefact
from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.project_catalog import ProjectCatalog
from fakemedia.store.images import PIXELS
from fakemedia.store.pixels import PixelStore
from tests.figures import stub_figures
from tests.pipeline.conftest import bootstrap, run, use_one_core

pytestmark = pytest.mark.slow
FLIPS = 3
"""Bits that are flipped in each file, one at a time."""
UNREAD = (".tex", ".md")
"""Files that no later step reads: a person does."""
KINDS = {"IndexDataset", "TableDataset", "PixelStoreDataset", "CheckpointDataset", "CalibrationDataset", "CSVDataset",
         "FiguresDataset", "PrintedTablesDataset", "TextDataset"}


@pytest.fixture(scope="module")
def made(_ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with results of every kind."""
    project = shutil.copytree(_ingested, tmp_path_factory.mktemp("made"), dirs_exist_ok=True)
    local = project / "conf/local/parameters.yml"
    parameters = yaml.safe_load(local.read_text())
    tiny = parameters["sequences"]["tiny"]
    tiny |= {"methods": {"finetune": {}}, "measures": ["frechet"],
             "training": {**tiny["training"], "epochs": 1}}
    local.write_text(yaml.safe_dump(parameters))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_one_core(monkeypatch)
        stub_figures(monkeypatch)
        run(project)
    return project


@pytest.fixture
def catalog(made: Path, tmp_path: Path) -> Iterator[ProjectCatalog]:
    project = shutil.copytree(made, tmp_path / "copied")
    bootstrap()
    with KedroSession.create(project_path=project) as session:
        yield session.load_context().catalog


def artefacts(catalog: ProjectCatalog) -> dict[str, Artefact]:
    """Return one result of the project of each kind, by the name of its dataset."""
    found = {name: catalog._artefact(name) for name in sorted(pipelines["__default__"].datasets())}
    names = {type(catalog[name]).__name__: name for name, each in found.items() if each is not None}
    assert set(names) >= KINDS
    return {name: found[name] for name in names.values()}


def files_of(artefact: Artefact) -> list[Path]:
    place = artefact.path if artefact.folder else artefact.path.parent
    files = [place / name for name in read_manifest(artefact.path, folder=artefact.folder).files]
    files += [path for path in [artefact.path / PIXELS] if path.exists()]
    return [path for path in files if path.stat().st_size]


def flip(path: Path, rng: random.Random, *, hidden: bool) -> bytes:
    """Flip one bit of a file and return what it held; a `hidden` flip keeps the time of its last change."""
    whole, status = path.read_bytes(), path.stat()
    at = rng.randrange(len(whole))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:])
    if hidden:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return whole


def restore(path: Path, whole: bytes, recorded: Path, record: bytes) -> None:
    path.write_bytes(whole)
    recorded.write_bytes(record)


def content(catalog: ProjectCatalog, name: str) -> str | None:
    lineage = Lineage(catalog._lineage.context)
    return lineage.content(lineage.artefact(name))


def load(catalog: ProjectCatalog, name: str) -> None:
    loaded = catalog.load(name)
    if isinstance(loaded, PixelStore):
        loaded.verify()


def test_a_flipped_bit_is_found_by_the_plan_and_when_the_file_is_read(catalog: ProjectCatalog) -> None:
    rng = random.Random(0)
    for name, artefact in artefacts(catalog).items():
        assert content(catalog, name) is not None, name
        recorded = manifest_path(artefact.path, folder=artefact.folder)
        record = recorded.read_bytes()
        for path in files_of(artefact):
            for _ in range(FLIPS):
                whole = flip(path, rng, hidden=False)
                assert content(catalog, name) is None, path
                restore(path, whole, recorded, record)
                if path.suffix in UNREAD:
                    continue
                whole = flip(path, rng, hidden=True)
                with pytest.raises(Exception, match=r"damaged|changed|No .* can be opened") as error:
                    load(catalog, name)
                assert path.name in str(error.value) or artefact.path.name in str(error.value)
                restore(path, whole, recorded, record)
        assert content(catalog, name) is not None, name


def test_a_flipped_bit_in_a_manifest_makes_its_result_missing(catalog: ProjectCatalog) -> None:
    rng = random.Random(1)
    for name, artefact in artefacts(catalog).items():
        recorded = manifest_path(artefact.path, folder=artefact.folder)
        before = read_manifest(artefact.path, folder=artefact.folder)
        for _ in range(FLIPS):
            record = flip(recorded, rng, hidden=False)
            same = read_manifest(artefact.path, folder=artefact.folder) == before  # Such as another case of \u00e9.
            assert same or content(catalog, name) is None, recorded
            recorded.write_bytes(record)


def test_what_is_damaged_is_made_again(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_figures(monkeypatch)
    project = shutil.copytree(made, tmp_path / "copied")
    rng, data = random.Random(2), project / "data"
    damaged = [data / "03_primary/tiny/gan/train" / PIXELS,
               data / "06_models/tiny/finetune/seed0/01_gan/weights.safetensors",
               data / "07_model_output/tiny/finetune/seed0/02_latent.parquet"]
    held = [flip(path, rng, hidden=False) for path in damaged]
    run(project, only_missing_outputs=True)
    assert [path.read_bytes() for path in damaged[1:]] == held[1:]
    again, first = (PixelStore.open(each / "data/03_primary/tiny/gan/train") for each in (project, made))
    assert all((again[i] == first[i]).all() for i in range(len(first)))


def test_files_that_were_only_touched_are_compared_once(made: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    from fakemedia.store import pixels

    project, read = shutil.copytree(made, tmp_path / "copied"), []
    real = pixels.checksum
    monkeypatch.setattr(pixels, "checksum", lambda data: read.append(1) or real(data))
    store = project / "data/03_primary/tiny/gan/train"
    os.utime(store / PIXELS)
    assert [PixelStore.open(store).is_intact() for _ in range(2)] == [True, True]
    assert len(read) == len(PixelStore.open(store))
