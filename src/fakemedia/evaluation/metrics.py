"""How well a set of float64 logits separates fake from real images.

`labels` are integers (N,), 0 real and 1 fake; `logits` are float64, z_fake - z_real, so that an image is classified as
fake if its logit is above 0 and P(fake) = sigmoid(logit). Ranks are taken from the logits themselves, never from
probabilities, which saturate. Accuracies are in percent, everything else is a fraction. Undefined values (AUC of a
single class, accuracy of an absent class, anything without images) are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_curve

Floats = NDArray[np.float64]
ECE_BINS = 15


def correct(labels: NDArray[np.integer], logits: Floats) -> NDArray[np.bool_]:
    """Return whether each image is classified correctly, in the shape of `logits` (..., N)."""
    return (logits > 0) == (labels == 1)


def accuracy(labels: NDArray[np.integer], logits: Floats) -> float:
    """Return the percentage of images classified correctly."""
    return 100 * float(np.mean(correct(labels, logits))) if len(labels) else np.nan


def placements(labels: NDArray[np.integer], logits: Floats) -> Floats:
    """Return for each image the share of the other class that it is ranked correctly against, ties counting half.

    The placement values (structural components) of DeLong, DeLong and Clarke-Pearson (Biometrics, 1988). `logits` are
    (..., N), and so is the result; the mean over either class is the AUC. NaN throughout where a class is absent.
    """
    fake = labels == 1
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    values = np.full(logits.shape, np.nan)
    if not n_fake or not n_real:
        return values
    ranks = rankdata(logits, axis=-1)
    values[..., fake] = (ranks[..., fake] - rankdata(logits[..., fake], axis=-1)) / n_real
    values[..., ~fake] = 1 - (ranks[..., ~fake] - rankdata(logits[..., ~fake], axis=-1)) / n_fake
    return values


def auc(labels: NDArray[np.integer], logits: Floats) -> Floats:
    """Return the area under the ROC curve, (...,) for `logits` (..., N): P(fake ranks above real), ties half.

    Of the four pairs of a real and a fake image, three are ranked correctly:

    >>> float(auc(np.array([0, 0, 1, 1]), np.array([-1.0, 2.0, 1.0, 3.0])))
    0.75
    """
    values = placements(labels, logits)[..., labels == 1]
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def equal_error_rate(labels: NDArray[np.integer], logits: Floats) -> float:
    """Return the error rate at the threshold where as many real images are called fake as fake ones real.

    Linear interpolation between the two neighbouring points of the ROC curve.
    """
    if len(np.unique(labels)) < 2:
        return np.nan
    false_positive_rate, true_positive_rate, _ = roc_curve(labels, logits, drop_intermediate=False)
    false_negative_rate = 1 - true_positive_rate
    return float(np.interp(0, false_positive_rate - false_negative_rate, false_positive_rate))


def true_positive_rate(labels: NDArray[np.integer], logits: Floats, false_positive_rate: float) -> float:
    """Return the percentage of fake images found at the threshold that calls at most this share of real ones fake."""
    if len(np.unique(labels)) < 2:
        return np.nan
    false_positives, true_positives, _ = roc_curve(labels, logits, drop_intermediate=False)
    return 100 * float(true_positives[false_positives <= false_positive_rate + 1e-12].max())


def expected_calibration_error(labels: NDArray[np.integer], logits: Floats, bins: int = ECE_BINS) -> float:
    """Return sum over bins of (images in the bin / N) * |accuracy - mean confidence|.

    Confidence is the probability of the class called, in `bins` bins of equal width over [0, 1] (Guo et al., ICML
    2017).
    """
    if not len(labels):
        return np.nan
    confidence = expit(np.abs(logits))
    bin_numbers = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    excess = np.bincount(bin_numbers, weights=correct(labels, logits) - confidence, minlength=bins)
    return float(np.abs(excess).sum() / len(labels))


def task_metrics(labels: NDArray[np.integer], logits: Floats) -> dict[str, float]:
    """Return accuracy, accuracy_real, accuracy_fake, tpr_1, tpr_5 (percent), auc, ap, eer, ece (fractions) of a split.

    tpr_1 and tpr_5 are the true positive rates at 1 and 5 % false positives.
    """
    real, fake = labels == 0, labels == 1
    return {
        "accuracy": accuracy(labels, logits),
        "accuracy_real": accuracy(labels[real], logits[real]),
        "accuracy_fake": accuracy(labels[fake], logits[fake]),
        "auc": float(auc(labels, logits)),
        "ap": float(average_precision_score(labels, logits)) if real.any() and fake.any() else np.nan,
        "eer": equal_error_rate(labels, logits),
        "ece": expected_calibration_error(labels, logits),
        "tpr_1": true_positive_rate(labels, logits, 0.01),
        "tpr_5": true_positive_rate(labels, logits, 0.05),
    }
