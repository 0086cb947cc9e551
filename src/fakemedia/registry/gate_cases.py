"""Regression cases: reported pictures, each with its right answer, that every candidate is scored on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from fakemedia.core.errors import UserError
from fakemedia.scoring.model import Model
from fakemedia.scoring.scores import score_files

TABLE = "cases.csv"
ANSWERS = ("real", "fake")
KEPT, FIXED, KNOWN, REGRESSION = "right", "fixed", "known miss", "regression"


def read_cases(folder: Path) -> pd.DataFrame:
    """Return the cases in `folder`: path (str, relative to it) and answer (`real` or `fake`); none without a table.

    UserError for pictures without a table, a table without these columns, another answer, a file that is missing.
    """
    table = folder / TABLE
    if not table.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError("The cases have no table of right answers", where=table,
                            expected="a CSV table with the columns path and answer (real or fake)")
        return pd.DataFrame({"path": [], "answer": []}, dtype=str)
    try:
        cases = pd.read_csv(io.BytesIO(table.read_bytes()), dtype=str, keep_default_na=False)
        cases = cases.loc[:, ["path", "answer"]]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The table of cases cannot be read ({error})", where=table,
                        expected="a CSV table with the columns path and answer (real or fake)") from None
    for path, answer in zip(cases["path"], cases["answer"], strict=True):
        if answer not in ANSWERS:
            raise UserError(f"{answer!r} is no answer", where=f"{table}: {path}", expected="real or fake")
        if not (folder / path).is_file():
            raise UserError("A case has no picture", where=folder / path, do="correct its path in cases.csv")
    return cases


def called_fake(model: Model, folder: Path, cases: pd.DataFrame) -> np.ndarray:
    """Return whether `model` calls each case fake at its calibrated threshold, bool (N,).

    As `kedro score` does, all crops count. UserError for a picture that cannot be read, and without a calibration.
    """
    calibration = model.facts.calibration
    if calibration is None:
        raise UserError("The detector is not calibrated: it gives no verdicts", where="the gate")
    scores = score_files(model, [folder / path for path in cases["path"]])
    bad = scores.loc[scores["error"] != ""]
    if len(bad):
        raise UserError(f"A case cannot be read: {bad['error'].iloc[0]}", where=bad["path"].iloc[0],
                        do="replace the picture, or remove the case from cases.csv")
    return np.array([bool(calibration.for_crops(crops).is_fake(np.array([logit]))[0]) and not np.isnan(logit)
                     for crops, logit in zip(scores["crops"].tolist(), scores["logit"].tolist(), strict=True)])


def judge_cases(cases: pd.DataFrame, champion: np.ndarray, candidate: np.ndarray) -> list[dict[str, str]]:
    """Return path, answer and outcome of each case, by whether both call it fake, bool (N,) each.

    Outcomes: KEPT right by both, FIXED by the candidate, KNOWN wrong by both, REGRESSION wrong by the candidate alone.
    """
    fake = cases["answer"].to_numpy() == "fake"
    outcome = {(True, True): KEPT, (False, True): FIXED, (False, False): KNOWN, (True, False): REGRESSION}
    return [{"path": path, "answer": answer, "outcome": outcome[bool(before), bool(after)]}
            for path, answer, before, after in zip(cases["path"], cases["answer"], champion == fake, candidate == fake,
                                                   strict=True)]
