"""The scores of picture files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.artefacts.files import read_regular
from fakemedia.core.errors import UserError
from fakemedia.evaluation.calibration import Calibration
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.scoring.model import Model
from fakemedia.store.crops import centre_crop
from fakemedia.store.decode import DecodeError, decode
from fakemedia.store.policies import policy_function

BATCH = 64
UNCALIBRATED = Calibration(temperature=1.0, threshold=0.5, unsure_low=0.5, unsure_high=0.5, target=0.5, images=0,
                           sources=0, tasks=(), weights_sha256="", made_from="")
"""P(fake) as the network gives it, fake above 0.5, never unsure."""

Pixels = NDArray[np.uint8]
OnBatch = Callable[[pd.DataFrame, Pixels], None]


def score_files(model: Model, files: Sequence[Path], *, batch_size: int = BATCH, on_batch: OnBatch | None = None,
                progress: bool = True) -> pd.DataFrame:
    """Return the scores of picture `files`, a row each in their order.

    Columns: path (str), p_fake (float64, calibrated), verdict (`real`, `fake` or `unsure`), logit (float64,
    z_fake - z_real), error (str: why the file was skipped, or empty; the others are then NaN and empty). The network
    sees what it would see of the file in a pixel store. Files are decoded by a thread a core, ahead of the network;
    `on_batch` is called with the rows of each batch that were scored and their crops, uint8 (N, crop, crop, 3).
    `attrs["seconds"]` is the time that it took. UserError if the network gives scores that are not finite.
    """
    start = time.perf_counter()
    read = crop_reader(model.facts.policy, model.facts.crop)
    crops = zip(files, thread_map(read, files, workers=cores(), title="score", total=len(files), progress=progress,
                                  ahead=2 * batch_size), strict=True)
    tables = []
    while batch := list(islice(crops, batch_size)):
        tables.append(_score(model, batch, on_batch))
    scores = pd.concat(tables, ignore_index=True)
    scores.attrs["seconds"] = time.perf_counter() - start
    return scores


def crop_reader(policy: str, size: int) -> Callable[[Path], Pixels | str]:
    """Return a function from a picture file to its centre crop under `policy`, uint8 (size, size, 3), or to the reason
    why there is none."""
    keep = policy_function(policy)

    def read(path: Path) -> Pixels | str:
        try:
            return centre_crop(keep(decode(read_regular(path))), size)
        except DecodeError as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)

    return read


def _score(model: Model, batch: Sequence[tuple[Path, Pixels | str]], on_batch: OnBatch | None) -> pd.DataFrame:
    errors = [crop if isinstance(crop, str) else "" for _, crop in batch]
    scored = np.array([not error for error in errors])
    crops = np.array([crop for _, crop in batch if not isinstance(crop, str)], np.uint8)
    logits, p_fake = np.full((2, len(batch)), np.nan)
    verdicts = np.full(len(batch), "", "<U8")
    if len(crops):
        logits[scored] = model.logits(crops)
        if not np.isfinite(logits[scored]).all():
            raise UserError("The network gives scores that are not finite",
                            where=f"checkpoint {model.facts.fingerprint}", do="choose another checkpoint")
        calibration = model.facts.calibration or UNCALIBRATED
        p_fake[scored] = calibration.probability(logits[scored])
        verdicts[scored] = calibration.verdict(logits[scored])
    table = pd.DataFrame({"path": [str(path) for path, _ in batch], "p_fake": p_fake, "verdict": verdicts.tolist(),
                          "logit": logits, "error": errors})
    if on_batch is not None and len(crops):
        on_batch(table.loc[scored], crops)
    return table
