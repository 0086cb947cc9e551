"""`transfer`: how much of a task's separability a linear probe loses that was trained on another task.

Formula: d(a, b) = 1 - s(a, b) / s(b, b), at least 0, with s(a, b) the sensitivity index of a logistic regression
trained on task a over the images of task b: (mean logit of fake - mean logit of real) / root mean variance of the two.
It is the cross-task AUC = Phi(s / sqrt 2) of normal logits on a scale without upper end: on easy tasks every AUC is
near 1. The probe's features are those of the frozen network, or (default) level and spread over an image's 16-pixel
tiles of the noise residual's log power at each frequency (`spectra.spectral_statistics`): a network that has not
learned forgeries sees content rather than traces.
Each task's images are halved: probes learn on one half and are scored on the other.
Source: cross-domain transfer as task affinity: Zamir et al., "Taskonomy" (CVPR 2018); linear probes: Alain and Bengio
(2016); sensitivity index: Green and Swets, "Signal detection theory and psychophysics" (1966).
Range: [0, 2]: 0 nothing is lost, 1 all of it, above 1 the probe ranks the wrong way round. Not symmetric.
Cost: features once an image and one regression a task; a pair is a dot product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fakemedia.core.types import FAKE, REAL
from fakemedia.similarity.measure import Measure, TaskSample
from fakemedia.similarity.probe import Probe, fit_probe


@dataclass(frozen=True, kw_only=True)
class Config:
    """Input of the probe."""

    features: Literal["spectra", "network"] = "spectra"
    """Local spectra of the noise residual, or the features of the frozen network."""


@dataclass(frozen=True)
class TaskProbe:
    """A task's probe, and the features (M, D) and labels (M,) that no probe has seen."""

    probe: Probe
    features: NDArray[np.float64]
    labels: NDArray[np.integer]


def _features(sample: TaskSample, config: Config) -> NDArray[np.float64]:
    if config.features == "network":
        return sample.features
    return np.concatenate([part.reshape(len(part), -1) for part in sample.spectra], axis=1).astype(np.float64)


def sensitivity(a: TaskProbe, b: TaskProbe) -> float:
    """Return the sensitivity index of a's probe on b's unseen images; 0 if its logits do not vary."""
    logits = a.probe.logits(b.features)
    real, fake = logits[b.labels == REAL], logits[b.labels == FAKE]
    deviation = np.sqrt((real.var() + fake.var()) / 2)
    return float((fake.mean() - real.mean()) / deviation) if deviation > 0 else 0.0


def separability_lost(a: TaskProbe, b: TaskProbe) -> float:
    """Return the share of b's separability, 0 to 2, that a's probe loses; 1 if b's own probe has none."""
    own_sensitivity = sensitivity(b, b)
    return float(np.clip(1 - sensitivity(a, b) / own_sensitivity, 0, 2)) if own_sensitivity > 0 else 1.0


def auc(a: TaskProbe, b: TaskProbe) -> float:
    """Return the AUC of a's probe on b's unseen images."""
    return float(roc_auc_score(b.labels == FAKE, a.probe.logits(b.features)))


def probe_task(sample: TaskSample, config: Config) -> TaskProbe:
    """Return the probe trained on one half of the sample's images, and the other half."""
    features = _features(sample, config)
    train = _half(sample)
    return TaskProbe(fit_probe(features[train], sample.labels[train]), features[~train], sample.labels[~train])


def _half(sample: TaskSample) -> NDArray[np.bool_]:
    """Return the mask (N,) of every second image of either class ordered by a hash of their pixels, not by row."""
    keys = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in sample.images]
    mask = np.zeros(len(keys), np.bool_)
    for label in (REAL, FAKE):
        rows = sorted(np.flatnonzero(sample.of(label)), key=lambda row: keys[row])
        mask[rows[::2]] = True
    return mask


def hardness(samples: Sequence[TaskSample], config: Config) -> dict[str, float]:
    """Return the difficulty of each task: 1 - AUC of its own probe on its unseen images (for `hardest_first`)."""
    probes = {sample.task: probe_task(sample, config) for sample in samples}
    return {task: 1 - auc(probe, probe) for task, probe in probes.items()}


def build(config: Config) -> Measure:
    """Return the measure."""
    return Measure(summarise=lambda sample: probe_task(sample, config), distance=separability_lost,
                   reads="features" if config.features == "network" else "images", symmetric=False, min_images=20)
