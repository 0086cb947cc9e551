"""The audit finds every planted fault, and none in clean data."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.ingest.audit import accept, audit_task, findings_recipe, shared_images, verdict
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index
from fakemedia.ingest.parts import index_content
from fakemedia.ingest.perceptual import near_pairs, perceptual_facts
from fakemedia.reporting.audit_page import (
    CAPTION,
    MAX_POINTS,
    MAX_TASKS,
    audit_caption,
    audit_figure,
    audit_page,
    audit_summary,
    gather_findings,
)
from fakemedia.reporting.rendering import render_figure
from fakemedia.sources.folder import FolderSource

COUNTS = {"train": 24, "val": 12, "test": 12}


def scene(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """Return a smooth random picture with some texture, like a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    coarse = coarse.resize(size[::-1], Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (*size, 3))
    return Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8))


def write_task(root: Path, task: str = "gan", first_seed: int = 0) -> Path:
    seed = first_seed
    for split, count in COUNTS.items():
        for name in CLASS_FOLDERS:
            folder = root / task / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                scene(seed).save(folder / f"{number:02d}.png")
                seed += 1
    return root / task


def index_of(root: Path, task: str = "gan") -> pd.DataFrame:
    return build_index(FolderSource(root), task, workers=1, progress=False)


def audited(root: Path, **settings) -> pd.DataFrame:
    return audit_task(index_of(root), AuditConfig(**settings))


def test_clean_data_raise_nothing(tmp_path: Path) -> None:
    write_task(tmp_path)
    index = index_of(tmp_path)
    findings = audit_task(index, AuditConfig(strict=True))
    assert findings.empty
    assert verdict(findings) == "pass"
    pd.testing.assert_frame_equal(accept(index, findings, AuditConfig(strict=True)), index)


def plant(task: Path) -> dict[str, set[str]]:
    """Plant one fault of each kind; return the images that each finding must name."""
    train, val, test = (task / split for split in COUNTS)
    (train / "0_real/00.png").write_bytes((train / "0_real/00.png").read_bytes()[:200])
    Image.new("RGB", (64, 48), (90, 90, 90)).save(train / "1_fake/00.png")
    (train / "0_real/02.png").write_bytes((train / "0_real/01.png").read_bytes())
    (test / "0_real/03.png").write_bytes((train / "0_real/03.png").read_bytes())
    (val / "1_fake/04.png").write_bytes((val / "0_real/04.png").read_bytes())
    near = Image.open(train / "1_fake/05.png")
    buffer = io.BytesIO()
    near.save(buffer, "JPEG", quality=85)
    Image.open(buffer).save(test / "1_fake/05.png")
    near = Image.open(val / "0_real/06.png")
    Image.fromarray(np.asarray(near) // 2 * 2).save(val / "0_real/07.png")
    return {
        "unreadable": {"train/0_real/00.png"}, "empty": {"train/1_fake/00.png"}, "duplicate": {"train/0_real/01.png"},
        "leak": {"train/0_real/03.png"}, "contradiction": {"val/0_real/04.png", "val/1_fake/04.png"},
        "near_leak": {"train/1_fake/05.png"}, "near_duplicate": {"val/0_real/06.png"},
    }


def test_every_planted_fault_is_found_and_nothing_else(tmp_path: Path) -> None:
    planted = plant(write_task(tmp_path))
    findings = audited(tmp_path)
    found = {kind: {path.removeprefix("gan/") for path in rows["path"]} for kind, rows in findings.groupby("finding")}
    assert found == planted
    assert verdict(findings) == "fail"
    with pytest.raises(UserError, match=r"(?s)cannot be read.*gan/train/0_real/00\.png.*replace or remove it"):
        accept(index_of(tmp_path), findings, AuditConfig())


def test_imbalance_is_found(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    for path in sorted((task / "val/1_fake").iterdir())[4:]:
        path.unlink()
    findings = audited(tmp_path)
    assert findings[["finding", "split", "detail"]].to_numpy().tolist() == [
        ["imbalance", "val", "12 real and 4 fake images"]]
    with pytest.raises(UserError, match="strict: imbalance"):
        accept(index_of(tmp_path), findings, AuditConfig(strict=True))


def rewritten(task: Path, label: str, change) -> None:
    for path in sorted(task.rglob(f"{label}/*.png")):
        change(Image.open(path).copy(), path)


@pytest.mark.parametrize(("fact", "real", "fake"), [
    ("codec", lambda image, path: image.save(path, "JPEG"), lambda image, path: image.save(path, "PNG")),
    ("quality", lambda image, path: image.save(path, "JPEG", quality=95),
     lambda image, path: image.save(path, "JPEG", quality=60)),
    ("mode", lambda image, path: image.save(path), lambda image, path: image.convert("RGBA").save(path)),
    ("width", lambda image, path: image.save(path), lambda image, path: image.crop((0, 0, 60, 48)).save(path)),
])
def test_a_shortcut_through_the_container_is_found(tmp_path: Path, fact: str, real, fake) -> None:
    task = write_task(tmp_path)
    rewritten(task, "0_real", real)
    rewritten(task, "1_fake", fake)
    findings = audited(tmp_path)
    assert findings["finding"].tolist() == ["shortcut"]
    assert f"{fact} 1.00" in findings["detail"].iloc[0]


def test_differences_that_real_and_fake_share_are_no_shortcut(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    for label in CLASS_FOLDERS:
        for number, path in enumerate(sorted(task.rglob(f"{label}/*.png"))):
            image = Image.open(path).copy()
            image.crop((0, 0, 64 - number % 5, 48)).save(path, "JPEG" if number % 2 else "PNG")
    assert audited(tmp_path)["finding"].tolist() == []


def test_quarantine_leaves_images_out_and_moves_nothing(tmp_path: Path) -> None:
    plant(write_task(tmp_path))
    files = sorted(tmp_path.rglob("*.png"))
    index, config = index_of(tmp_path), AuditConfig(quarantine=("unreadable", "leak", "contradiction"))
    findings = audit_task(index, config)
    assert findings.loc[findings["left_out"], "path"].tolist() == [
        "gan/train/0_real/00.png", "gan/train/0_real/03.png", "gan/val/0_real/04.png", "gan/val/1_fake/04.png"]
    kept = accept(index, findings, config)
    assert len(kept) == len(index) - 4
    store = build_store(kept, FolderSource(tmp_path), "train", tmp_path / "store", workers=1, progress=False)
    assert len(store) == 2 * COUNTS["train"] - 2
    leaked = index.set_index("path").loc["gan/train/0_real/03.png", "id"]
    assert leaked not in store.ids
    assert leaked in kept.loc[kept["split"] == "test", "id"].tolist()
    assert sorted(tmp_path.rglob("*.png")) == files
    with pytest.raises(UserError, match="strict"):
        accept(index, findings, AuditConfig(strict=True, quarantine=config.quarantine))


def test_a_quarantine_that_empties_a_class_is_refused(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    for path in (task / "val/1_fake").iterdir():
        path.write_bytes(b"")
    config = AuditConfig(quarantine=("unreadable",))
    index = index_of(tmp_path)
    findings = audit_task(index, config)
    with pytest.raises(UserError, match="val split has no image of the class 1_fake"):
        accept(index, findings, config)


def test_tasks_that_share_images_are_noted(tmp_path: Path) -> None:
    first, second = write_task(tmp_path, "crn"), write_task(tmp_path, "imle", first_seed=1000)
    for number in range(5):
        (second / f"train/0_real/{number:02d}.png").write_bytes((first / f"test/0_real/{number:02d}.png").read_bytes())
    indexes = [index_of(tmp_path, task) for task in ("crn", "imle")]
    notes = shared_images(indexes)
    assert notes[["task", "finding", "severity", "other"]].to_numpy().tolist() == [["crn", "shared", "note", "imle"]]
    assert notes["detail"].iloc[0].startswith("5 images (0_real) are also in imle; 5 of them in train")
    findings = gather_findings(indexes, [audit_task(index, AuditConfig()) for index in indexes])
    assert verdict(findings) == "pass"


def thirty_tasks() -> list[pd.DataFrame]:
    """Return indexes of 30 tasks that share ten images; real and fake differ in codec in those of odd number."""
    made = []
    for number in range(30):
        name, label = f"task{number:02d}", np.arange(1000) % 2
        facts = {"id": [f"{'' if i < 10 else number}-{i}" for i in range(1000)], "path": [f"{i}" for i in range(1000)],
                 "task": name, "split": "train", "label": label, "mode": "RGB", "quality": 0, "width": 64, "error": "",
                 "height": 64 + np.arange(1000) // 2, "codec": np.where(label * (number % 2), "webp", "png")}
        made.append(pd.DataFrame(facts))
    return made


def test_thirty_tasks_take_one_merge_and_a_figure_of_those_that_differ_most(monkeypatch: pytest.MonkeyPatch) -> None:
    indexes, merges = thirty_tasks(), []
    merge = pd.DataFrame.merge
    monkeypatch.setattr(pd.DataFrame, "merge", lambda *given, **more: merges.append(1) or merge(*given, **more))
    assert len(shared_images(indexes)) == 30 * 29 / 2
    assert len(merges) == 1
    figure = audit_figure(indexes)
    titles = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert titles == [f"task{number:02d}" for number in range(1, 2 * MAX_TASKS, 2)]
    assert figure.get_figheight() < 11
    assert all(len(line.get_xdata()) <= MAX_POINTS for axes in figure.axes for line in axes.lines)
    assert audit_caption(30).endswith(f"Of 30 tasks, the {MAX_TASKS} where they differ most are shown.")
    assert audit_caption(MAX_TASKS) == CAPTION


def test_the_page_tells_all(tmp_path: Path) -> None:
    plant(write_task(tmp_path))
    indexes = [index_of(tmp_path)]
    findings = gather_findings(indexes, [audit_task(indexes[0], AuditConfig(quarantine=("leak",)))])
    page = audit_page("seq", indexes, findings, render_figure("containers", audit_figure(indexes), CAPTION))
    for word in ("unreadable", "near_leak", "gan/train/0_real/03.png", "1 are left out",
                 "24 + 24, of these 1 + 0 left out", "data:image/svg"):
        assert word in page


def test_the_summary_counts_what_is_left_out_by_split_and_class(tmp_path: Path) -> None:
    plant(write_task(tmp_path))
    index = index_of(tmp_path)
    findings = audit_task(index, AuditConfig(quarantine=("unreadable", "leak", "contradiction")))
    summary = json.loads(audit_summary([index], gather_findings([index], [findings])))
    task = summary["tasks"]["gan"]
    assert (summary["left_out"], summary["images"], task["left_out"], task["images"]) == (4, 96, 4, 96)
    counts = {(split, name): tuple(found.values()) for split, classes in task["splits"].items()
              for name, found in classes.items()}
    assert counts == {("train", "real"): (24, 2), ("train", "fake"): (24, 0), ("val", "real"): (12, 1),
                      ("val", "fake"): (12, 1), ("test", "real"): (12, 0), ("test", "fake"): (12, 0)}


def test_identity_follows_facts_and_settings(tmp_path: Path) -> None:
    write_task(tmp_path)
    index, config = index_of(tmp_path), AuditConfig()
    assert index_content(index.assign(mtime_ns=1)) == index_content(index)
    assert index_content(index.iloc[1:]) != index_content(index)
    assert findings_recipe("x", AuditConfig(imbalance=3.0)).fingerprint != findings_recipe("x", config).fingerprint


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return Image.open(buffer)


@pytest.mark.parametrize(("change", "most"), [
    (recompressed, 3), (lambda image: Image.fromarray((np.asarray(image) * 0.97).astype(np.uint8)), 3),
    (lambda image: image.resize((320, 240), Image.Resampling.BICUBIC), 8), (lambda image: image.resize((80, 60)), 8),
])
def test_perceptual_hash_stands_small_changes(change, most: int) -> None:
    for seed in range(10):
        image = scene(seed, (120, 160))
        words = [int(perceptual_facts(np.asarray(picture)).phash, 16)
                 for picture in (image, change(image).convert("RGB"), scene(seed + 100, (120, 160)))]
        assert (words[0] ^ words[1]).bit_count() <= most
        assert (words[0] ^ words[2]).bit_count() > 12


def test_near_pairs_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    base = [int(value) for value in rng.integers(0, 2**63, 30)]
    words = [word ^ sum(1 << int(bit) for bit in rng.choice(63, flips, replace=False))
             for word in base for flips in (0, 1, 3, 5)]
    expected = [[i, j] for i in range(len(words)) for j in range(i + 1, len(words))
                if (words[i] ^ words[j]).bit_count() <= 3]
    assert near_pairs(np.array(words, np.uint64)).tolist() == expected
