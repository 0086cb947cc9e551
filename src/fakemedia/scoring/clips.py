"""The scores of videos, each from its frames at even distances, and of pictures and videos together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t as student

from fakemedia.artefacts.files import open_regular
from fakemedia.artefacts.manifest import file_sha256
from fakemedia.core.errors import UserError
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.scoring.crop_layout import view
from fakemedia.scoring.model import Facts, Model
from fakemedia.scoring.paths import MediaFiles
from fakemedia.scoring.scores import (
    BATCH,
    EVEN_PICTURE,
    UNKNOWN,
    UNSURE,
    LoadedPicture,
    OnBatch,
    picture_function,
    resolve_faces,
    score_batch,
    score_files,
    verdict_of,
)
from fakemedia.scoring.summary import joined
from fakemedia.sources.frames import INSTALL, frames_at
from fakemedia.store.faces import NO_FACE, Detector, FaceChoice, NoFaceError

FRAMES = 16
"""Frames of a video, by default."""
LEVEL = 0.95
N_LOUDEST = 3
"""Frames with the highest P(fake) that are named."""
DISAGREE = "its frames disagree: the interval holds the threshold"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The frames of a video file that were read."""

    seconds: list[float]
    """The time of each frame."""
    frames: list[LoadedPicture]
    sha256: str
    """SHA-256 of the file."""


def score_clips(model: Model, files: Sequence[Path], *, frames: int = FRAMES, batch_size: int = BATCH,
                crops: int | None = None, faces: FaceChoice | None = None, on_batch: OnBatch | None = None,
                progress: bool = True) -> pd.DataFrame:
    """Return the scores of video `files`, one row each in their order.

    The logit of a video is the mean over those of its `frames`, `crops` of each at most; frames that show nothing are
    left out. Its interval is that of Student's t over the logits of the frames, mapped to P(fake). Frames of one video
    are not independent, so the true uncertainty is larger. A video whose interval holds the threshold is unsure; one
    whose novelty, the mean over the frames, is above 1 is unknown.

    Columns: those of `score_files` (`crops` in all, `seen` the mean over the frames) and frames (int64, those that were
    judged), p_low, p_high (float64, the ends of the 95 % interval; NaN for fewer than two frames), loudest (str: times
    and P(fake) of the frames with the highest). `on_batch` gets the loudest frame of each video.
    """
    start = time.perf_counter()
    crops = crops or model.facts.usual_crops
    read_clip = clip_reader(model.facts, frames, crops, faces=resolve_faces(model.facts, faces),
                            whole=on_batch is not None)
    rows = []
    for path, clip in zip(files, thread_map(read_clip, files, workers=cores(), title="score videos", total=len(files),
                                            progress=progress), strict=True):
        rows.append(_skipped(path, clip) if isinstance(clip, str) else _score(model, path, clip, batch_size, on_batch))
    scores = pd.DataFrame(rows)
    scores["path"] = scores["path"].astype(object)  # not all names are Unicode
    scores.attrs["seconds"] = time.perf_counter() - start
    return scores


def score_media(model: Model, media: MediaFiles, *, batch_size: int = BATCH, crops: int | None = None,
                frames: int = FRAMES, faces: FaceChoice | None = None, on_batch: OnBatch | None = None,
                progress: bool = True) -> pd.DataFrame:
    """Return the scores of the pictures of `media`, then those of its videos; see `score_files` and `score_clips`."""
    options: dict[str, Any] = {"batch_size": batch_size, "crops": crops, "faces": faces, "on_batch": on_batch,
                               "progress": progress}
    tables = [score_files(model, media.files, **options)] if media.files else []
    tables += [score_clips(model, media.clips, frames=frames, **options)] if media.clips else []
    return joined(tables)


def clip_reader(facts: Facts, frames: int, crops: int, *, faces: Detector | None = None,
                whole: bool = False) -> Callable[[Path], Clip | str]:
    """Return a function that reads the frames of a video for a detector, or returns why it cannot be read.

    There are `frames` at most, `crops` of each at most; with `faces` a frame is its largest face, and those without a
    face are left out; `whole` keeps the full frames.
    """
    prepare = picture_function(facts.policy, faces)
    shares = [(number + 0.5) / frames for number in range(frames)]

    def read(path: Path) -> Clip | str:
        pictures: dict[float, LoadedPicture] = {}
        try:
            with open_regular(path) as file:
                for frame in frames_at(file, shares):
                    with suppress(NoFaceError):
                        picture = prepare(np.asarray(frame.image))
                        pictures.setdefault(frame.seconds, LoadedPicture(
                            view=view(picture, facts.crop, crops), sha256="", picture=picture if whole else None))
            if not pictures:
                return f"{NO_FACE} in {frames} frames"
            return Clip(seconds=list(pictures), frames=list(pictures.values()), sha256=file_sha256(path))
        except UserError:
            return f"a video; to read it: {INSTALL}"
        except OSError as error:
            return error.strerror or str(error)

    return read


def mean_interval(logits: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the LEVEL interval of the mean of `logits` (N,) by Student's t; NaN for fewer than two."""
    if len(logits) < 2:
        return np.nan, np.nan
    half = student.ppf((1 + LEVEL) / 2, len(logits) - 1) * logits.std(ddof=1) / np.sqrt(len(logits))
    return float(logits.mean() - half), float(logits.mean() + half)


def _skipped(path: Path, reason: str) -> dict[str, object]:
    return {"path": str(path), "p_fake": np.nan, "verdict": "", "reason": "", "novelty": np.nan, "logit": np.nan,
            "crops": 0, "seen": 0.0, "width": 0, "height": 0, "sha256": "", "error": reason, "frames": 0,
            "p_low": np.nan, "p_high": np.nan, "loudest": ""}


def _score(model: Model, path: Path, clip: Clip, batch_size: int, on_batch: OnBatch | None) -> dict[str, object]:
    """Return the row of a video that was read."""
    rows = score_batch(model, [(path, frame) for frame in clip.frames], batch_size)
    scored = rows.loc[rows["logit"].notna()]
    first_view = clip.frames[0].view
    row = _skipped(path, "") | {
        "verdict": UNSURE, "reason": EVEN_PICTURE, "crops": int(rows["crops"].to_numpy().sum()),
        "width": first_view.width, "height": first_view.height, "sha256": clip.sha256, "frames": len(scored)}
    if scored.empty:
        return row
    logits, calibration = scored["logit"].to_numpy(), model.facts.calibration
    calibration = calibration and calibration.for_crops(scored["crops"].to_numpy().max())
    mean, bounds = np.array([logits.mean()]), np.array(mean_interval(logits))
    probability = expit if calibration is None else calibration.probability
    p_fake, (low, high) = float(probability(mean)[0]), probability(bounds)
    loudest = scored.sort_values("p_fake", ascending=False, kind="stable").head(N_LOUDEST)
    description = ", ".join(f"{clip.seconds[index]:.2f} s {p_fake:.3f}" for index, p_fake in loudest["p_fake"].items())
    disagree = calibration is not None and low <= calibration.threshold < high
    novelty = float(scored["novelty"].mean())
    verdict = UNKNOWN if novelty > 1 else UNSURE if disagree else str(verdict_of(calibration, mean)[0])
    row |= {"p_fake": p_fake, "novelty": novelty, "logit": float(mean[0]), "seen": float(scored["seen"].mean()),
            "p_low": float(low), "p_high": float(high), "loudest": description, "reason": DISAGREE if disagree else "",
            "verdict": verdict}
    if on_batch is not None:
        index = loudest.index[0]
        on_batch(rows.loc[[index]].assign(path=f"{path}#{clip.seconds[index]:.2f}s"), [clip.frames[index]])
    return row
