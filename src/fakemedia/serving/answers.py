"""What the service answers: scores as JSON, and as rows of the log."""

from __future__ import annotations

import time

import numpy as np
from pydantic import BaseModel, Field

from fakemedia.scoring.scores import EVEN_PICTURE, probabilities_and_verdicts
from fakemedia.serving.batching import Computed
from fakemedia.serving.live_detector import Serving
from fakemedia.serving.log import Row, packed
from fakemedia.serving.pictures_in import Received

CAVEAT = ("'not flagged' does not show that a picture is real: the detector finds the traces of the generators that it "
          "learned, and new ones appear all the time.")


class Crop(BaseModel):
    """A square of the picture that the detector saw."""

    top: int = Field(description="Pixels from the top; negative where a small picture was padded.")
    left: int
    size: int = Field(description="Side of the square, pixels.")
    p_fake: float = Field(description="P(fake) of this square alone, 0 to 1.")


class Score(BaseModel):
    """The score of a picture, or why it has none."""

    name: str = Field(description="The file's name as sent.")
    error: str | None = Field(default=None, description="Why the picture was not scored.")
    verdict: str | None = Field(default=None, description="fake, not flagged, unsure, unknown or not calibrated.")
    reason: str | None = Field(default=None, description="Why a picture is unsure without a score.")
    p_fake: float | None = Field(default=None, description="Calibrated P(fake), 0 to 1.")
    logit: float | None = Field(default=None, description="z_fake - z_real, the mean of the crops.")
    novelty: float | None = Field(default=None, description="How far the picture is from what the detector knows: "
                                  "unknown above 1.")
    crops: list[Crop] = Field(default_factory=list, description="The squares that were seen, with their evidence.")
    seen: float | None = Field(default=None, description="Share of the picture that the crops show, 0 to 1.")
    width: int | None = None
    height: int | None = None
    sha256: str | None = Field(default=None, description="SHA-256 of the file.")


class Known(BaseModel):
    """The detector that scored."""

    version: int
    content: str = Field(description="Hash of all files of the version.")
    network: str
    tasks: list[str] = Field(description="What it has learned.")
    crop: int = Field(description="Side of the squares that it sees, pixels.")
    threshold: float | None = Field(default=None, description="P(fake) that divides real from fake, "
                                    "if the picture is not unsure.")
    unsure: tuple[float, float] | None = Field(description="P(fake) between which a picture is unsure.")
    guarantee: str = Field(description="What its calibration guarantees outside that band.")


class Scores(BaseModel):
    """The answer to POST /v1/score: one score for each picture, in their order."""

    detector: Known
    caveat: str = CAVEAT
    pictures: list[Score]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def known(serving: Serving, crops: int) -> Known:
    """Return the facts of the detector in an answer; it scores at most `crops` crops of a picture."""
    facts = serving.model.facts
    calibration = facts.calibration and facts.calibration.for_crops(crops)
    return Known(version=serving.version.number, content=serving.version.content, network=facts.network,
                 tasks=list(facts.tasks), crop=facts.crop, threshold=calibration.threshold if calibration else None,
                 unsure=(calibration.unsure_low, calibration.unsure_high) if calibration else None,
                 guarantee=calibration.guarantee if calibration else "none: it is not calibrated")


def answer(serving: Serving, picture: Received, computed: Computed, source: str) -> tuple[Score, Row]:
    """Return the score of a picture, and its row for the log; ValueError for scores that are not finite."""
    if not np.isfinite(computed.logits).all():
        raise ValueError("the network gives scores that are not finite")
    calibration = serving.model.facts.calibration
    count = len(computed.logits)
    crop_p_fakes, _ = probabilities_and_verdicts(calibration, computed.logits, np.full(count, np.nan),
                                                 np.ones(count, np.int64))
    novelty = None if np.isnan(computed.novelty) else computed.novelty
    logit = float(computed.logits.mean()) if count else None
    p_fakes, verdicts = probabilities_and_verdicts(calibration, np.array([np.nan if logit is None else logit]),
                                                   np.array([computed.novelty]), np.array([count]))
    p_fake, verdict = None if logit is None else float(p_fakes[0]), str(verdicts[0])
    view = picture.view
    score = Score(
        name=picture.name, verdict=verdict, reason=EVEN_PICTURE if logit is None else None, p_fake=p_fake, logit=logit,
        novelty=novelty,
        crops=[Crop(top=top, left=left, size=serving.model.facts.crop, p_fake=float(crop_p_fake))
               for (top, left), crop_p_fake in zip(view.positions.tolist(), crop_p_fakes, strict=True)],
        seen=view.share, width=view.width, height=view.height, sha256=picture.sha256)
    row = Row(time=time.time(), version=serving.version.number, detector=serving.version.content, source=source,
              sha256=picture.sha256, bytes=picture.bytes, codec=picture.codec, mode=picture.mode,
              quality=picture.quality, width=view.width, height=view.height, crops=len(view.crops), seen=view.share,
              logit=logit, p_fake=p_fake, verdict=verdict, novelty=novelty, embedding=packed(computed.embedding))
    return score, row
