"""The scores of picture files."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from fakemedia.artefacts.files import read_regular
from fakemedia.core.errors import UserError
from fakemedia.evaluation.calibration import Calibration, DecisionRule
from fakemedia.evaluation.novelty import Novelty, is_unknown
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.scoring.crop_layout import Pixels, View, view
from fakemedia.scoring.model import Facts, Model
from fakemedia.store.decode import DecodeError, decode
from fakemedia.store.faces import Detector, FaceChoice, check_detector, crop_face
from fakemedia.store.policies import policy_function

Floats = NDArray[np.float64]
BATCH = 64
FAKE, NOT_FLAGGED, UNSURE, UNKNOWN, NOT_CALIBRATED = "fake", "not flagged", "unsure", "unknown", "not calibrated"
VERDICTS = (FAKE, NOT_FLAGGED, UNSURE, UNKNOWN, NOT_CALIBRATED)
"""`not flagged`: the detector finds none of the traces that it knows, which does not show that a picture is real;
`unknown`: the picture is farther from the tasks learned than nearly all of their validation pictures, so that no
other verdict is known to hold; `not calibrated`: the detector has no calibration, so its P(fake) means nothing
certain."""
EVEN_PICTURE = "the picture is even where the detector looks: there is nothing to judge"


@dataclass(frozen=True, kw_only=True)
class LoadedPicture:
    """A picture in memory, with the crops that are scored."""

    view: View
    sha256: str
    """SHA-256 of the file; empty for a picture in memory."""
    picture: NDArray[np.uint8] | None
    """The full picture, uint8 (H, W, 3), if requested."""


OnBatch = Callable[[pd.DataFrame, list[LoadedPicture]], None]


def score_files(model: Model, files: Sequence[Path | Pixels], *, batch_size: int = BATCH, crops: int | None = None,
                faces: FaceChoice | None = None, on_batch: OnBatch | None = None,
                progress: bool = True) -> pd.DataFrame:
    """Return the scores of picture `files`, one row each in their order; pictures in memory, uint8 (H, W, 3), too.

    The logit of a picture is the mean over its crops, `crops` at most (see `scoring.crop_layout.view`; None:
    `Facts.usual_crops`); P(fake) and verdict are those of the calibration of as many (see `Calibration.for_crops`).
    With `crops` = 1 the network gets the same input as from a pixel store. With a detector of `faces`, by default that
    of its training pictures, the largest face of a picture is scored, and one without is skipped; `none`: the picture.

    Columns: path (str; of a picture in memory `picture 0`, ..., by its place), p_fake (float64, calibrated),
    verdict (one of VERDICTS), reason (str: why a picture is unsure without a score), novelty (float64, see
    `evaluation.novelty`: the mean distance of the crops over the threshold, unknown above 1; NaN if the detector
    has none), logit (float64, z_fake - z_real), crops (int64), seen (float64, share of the picture that they show),
    width, height (int64, pixels), sha256 (str, of the file), error (str: why the file was skipped, or empty; the
    others are then NaN, 0 and empty). Files are decoded by one thread per core, ahead of the network; `on_batch` is
    called with the rows that were scored of each batch and what was read of them, with the whole pictures.
    `attrs["seconds"]` is the duration. UserError if the network gives scores that are not finite.
    """
    start = time.perf_counter()
    crops = crops or model.facts.usual_crops
    read_file = reader(model.facts.policy, model.facts.crop, crops, faces=resolve_faces(model.facts, faces),
                       whole=on_batch is not None)
    chunk = max(1, batch_size // crops)
    names = [str(file) if isinstance(file, Path) else f"picture {number}" for number, file in enumerate(files)]
    pairs = zip(names, thread_map(read_file, files, workers=cores(), title="score", total=len(files), progress=progress,
                                  ahead=2 * chunk), strict=True)
    tables = []
    while batch := list(islice(pairs, chunk)):
        table = score_batch(model, batch, batch_size)
        loaded = [picture for _, picture in batch if isinstance(picture, LoadedPicture)]
        if on_batch is not None and loaded:
            on_batch(table.loc[table["error"] == ""], loaded)
        tables.append(table)
    scores = pd.concat(tables, ignore_index=True)
    scores.attrs["seconds"] = time.perf_counter() - start
    return scores


def resolve_faces(facts: Facts, faces: FaceChoice | None) -> Detector | None:
    """Return the face detector to use: that of `faces`, or by default that of the training pictures; None: no crop."""
    return facts.faces if faces is None else None if faces == "none" else faces


def reader(policy: str, size: int, crops: int, *, faces: Detector | None = None,
           whole: bool = False) -> Callable[[Path | Pixels], LoadedPicture | str]:
    """Return a function that reads a picture file under `policy`, or returns the reason why it cannot be read.

    It takes a picture in memory, uint8 (H, W, 3), too. `size` is the side of its crops, pixels, `crops` their number at
    most; with `faces` the picture is its largest face; `whole` keeps the full picture.
    """
    prepare = picture_function(policy, faces)

    def read(file: Path | Pixels) -> LoadedPicture | str:
        try:
            data = read_regular(file) if isinstance(file, Path) else b""
            picture = prepare(decode(data) if isinstance(file, Path) else file)
        except DecodeError as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        sha256 = hashlib.sha256(data).hexdigest() if isinstance(file, Path) else ""
        return LoadedPicture(view=view(picture, size, crops), sha256=sha256, picture=picture if whole else None)

    return read


def picture_function(policy: str, faces: Detector | None) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return the function from a decoded picture, uint8 (H, W, 3), to the pixels that are scored: its largest face, if
    a detector of `faces` is given (NoFaceError: there is none), under `policy`."""
    apply_policy = policy_function(policy)
    if faces is None:
        return apply_policy
    check_detector(faces)
    return lambda picture: apply_policy(crop_face(picture, faces))


def picture_outputs(model: Model, views: Sequence[View], batch_size: int) -> tuple[Floats, Floats]:
    """Return the mean logit over the crops of each picture, (N,), and its novelty (N,); NaN for one without crops.

    The novelty is NaN too if the detector has none. UserError if the network gives scores that are not finite.
    """
    counts = np.array([len(picture_view.crops) for picture_view in views])
    crops = [crop for picture_view in views for crop in picture_view.crops]
    if not crops:
        return np.full(len(views), np.nan), np.full(len(views), np.nan)
    outputs = [model.outputs(np.stack(crops[start:start + batch_size])) for start in range(0, len(crops), batch_size)]
    logits = np.concatenate([output.logits for output in outputs])
    if not np.isfinite(logits).all():
        raise UserError("The network gives scores that are not finite", where=f"checkpoint {model.facts.fingerprint}",
                        do="choose another checkpoint")
    embeddings = [output.embeddings for output in outputs if output.embeddings is not None]
    return _means(logits, counts), picture_novelty(model.facts.novelty,
                                                   np.concatenate(embeddings) if embeddings else None, counts)


def picture_novelty(novelty: Novelty | None, embeddings: NDArray[np.float32] | None,
                    counts: NDArray[np.int64]) -> Floats:
    """Return the novelty, float64 (P,), of pictures with `counts` (P,) crops each.

    `embeddings` (N, D) are those of all crops, picture by picture. The novelty of a picture is the mean distance of its
    crops over the threshold; NaN without crops, embeddings or a measure.
    """
    if novelty is None or embeddings is None:
        return np.full(len(counts), np.nan)
    distances = _means(novelty.distances(embeddings), counts)
    return distances / np.where(counts > 1, novelty.crops_threshold, novelty.threshold)


def _means(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return the mean (P,) of the values (N,) of each picture; `counts` (P,) of them in turn; NaN for a count of 0."""
    return np.array([part.mean() if len(part) else np.nan for part in np.split(values, np.cumsum(counts)[:-1])])


def score_batch(model: Model, batch: Sequence[tuple[str | Path, LoadedPicture | str]], batch_size: int) -> pd.DataFrame:
    """Return the rows of `score_files` for files that were read, or the reasons why they could not be."""
    loaded = [picture for _, picture in batch if isinstance(picture, LoadedPicture)]
    is_loaded = np.array([isinstance(item, LoadedPicture) for _, item in batch])
    logits, novelty = picture_outputs(model, [picture.view for picture in loaded], batch_size)
    counts = np.array([len(picture.view.crops) for picture in loaded])
    p_fake, verdicts = probabilities_and_verdicts(model.facts.calibration, logits, novelty, counts)
    values = pd.DataFrame({
        "p_fake": p_fake, "verdict": verdicts, "reason": np.where(np.isnan(logits), EVEN_PICTURE, ""),
        "novelty": novelty, "logit": logits,
        "crops": counts, "seen": [picture.view.share for picture in loaded],
        "width": [picture.view.width for picture in loaded], "height": [picture.view.height for picture in loaded],
        "sha256": [picture.sha256 for picture in loaded],
    }, index=np.flatnonzero(is_loaded))
    table = values.reindex(range(len(batch)))
    table = table.fillna({"verdict": "", "reason": "", "sha256": "", "crops": 0, "width": 0, "height": 0, "seen": 0.0})
    table = table.astype({"crops": np.int64, "width": np.int64, "height": np.int64})
    table.insert(0, "path", pd.Series([str(name) for name, _ in batch], dtype=object))  # not all names are Unicode
    table["error"] = [item if isinstance(item, str) else "" for _, item in batch]
    return table


def probabilities_and_verdicts(calibration: Calibration | None, logits: Floats, novelty: Floats,
                               counts: NDArray[np.int64]) -> tuple[Floats, NDArray[np.object_]]:
    """Return P(fake), float64 (N,), and the verdict, str (N,), of pictures by their logits and novelty.

    `logits` and `novelty` are float64 (N,), `counts`, int64 (N,), is the number of crops of each picture. NaN and
    `unsure` where the logit is NaN; a novelty of NaN is ignored.
    """
    p_fake, verdicts = np.full(len(logits), np.nan), np.full(len(logits), UNSURE, object)
    for has_several in (False, True):
        rows = ~np.isnan(logits) & ((counts > 1) == has_several)
        rule = calibration and calibration.for_crops(1 + has_several)
        p_fake[rows] = expit(logits[rows]) if rule is None else rule.probability(logits[rows])
        verdicts[rows] = verdict_of(rule, logits[rows])
    verdicts[is_unknown(novelty)] = UNKNOWN
    return p_fake, verdicts


def verdict_of(rule: DecisionRule | None, logits: Floats) -> NDArray[np.object_]:
    """Return the verdict, one of VERDICTS but `unknown`, for each of `logits` (N,)."""
    if rule is None:
        return np.full(len(logits), NOT_CALIBRATED, object)
    verdicts = rule.verdict(logits)
    return np.where(verdicts == "real", NOT_FLAGGED, verdicts.astype(object))
