"""`fingerprint`: difference between the traces that two generators leave in the spectrum of the noise residual.

Formula: residual = image minus its Gaussian-denoised self, cut into overlapping tiles; u(f) = mean and v(f) = standard
deviation over an image's tiles of ln |FFT|^2 (`spectra.spectral_statistics`). The trace of a task at f is (mean of u
over fake - mean of u over real images) / (standard deviation of u over real images), and so for v: content and camera,
which a task's real and fake images share, drop out; v distinguishes a trace in a part of the picture from one
everywhere. Each is averaged over rings of |f| (radial profile R) and over sectors of the direction of f above 0.1
cycles a pixel (angular profile A). d(a, b) = 1 - cos(t_a, t_b), where t is the two R and the two A in a row: the shape
of a trace counts, not its strength, in which members of a family differ most. Source: noise residuals as fingerprints:
Marra et al., "Do GANs leave artificial fingerprints?" (MIPR 2019); radial and angular spectra: Corvi et al.,
"Intriguing properties of synthetic images" (CVPR workshops 2023). Range: [0, 2]: 0 the same shape, 1 unrelated traces,
or a task whose fakes carry none. Cost: FFTs of each image's tiles; pairs are free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftfreq, rfftfreq

from fakemedia.core.types import FAKE, REAL
from fakemedia.similarity.measure import Measure, TaskSample
from fakemedia.similarity.spectra import TILE

READS = "images"
RINGS, SECTORS = 12, 16
LOWEST_FREQUENCY = 0.1
"""Cycles a pixel; the directions of lower frequencies are those of the content."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """No settings."""


@dataclass(frozen=True)
class Trace:
    """The change of the local log spectrum by a generator, in standard deviations of real images.

    Row 0 is the level, row 1 the spread.
    """

    radial: NDArray[np.float64]
    """Means over rings of equal width from zero to the highest frequency, (2, 12)."""
    angular: NDArray[np.float64]
    """Means over sectors of equal width from 0 to 180 degrees, (2, 16)."""


def find_trace(sample: TaskSample) -> Trace:
    """Return the trace of the sample's fakes."""
    radial, angular = zip(*(_profiles(_effect(part.astype(np.float64), sample)) for part in sample.spectra),
                          strict=True)
    return Trace(radial=np.stack(radial), angular=np.stack(angular))


def _effect(spectra: NDArray[np.float64], sample: TaskSample) -> NDArray[np.float64]:
    """Return Glass's delta of fake against real at each frequency, (16, 9); 0 where the real images do not vary."""
    real, fake = (spectra[sample.of(label)] for label in (REAL, FAKE))
    deviation = real.std(axis=0)
    change = fake.mean(axis=0) - real.mean(axis=0)
    return np.divide(change, deviation, out=np.zeros_like(change), where=deviation > 0)


def _profiles(spectrum: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the radial and angular profile of a half spectrum (16, 9)."""
    vertical, horizontal = np.meshgrid(fftfreq(TILE), rfftfreq(TILE), indexing="ij")
    radius = np.hypot(vertical, horizontal)
    ring = np.minimum((radius / radius.max() * RINGS).astype(np.int64), RINGS - 1)
    sector = (np.arctan2(vertical, horizontal) % np.pi / np.pi * SECTORS).astype(np.int64) % SECTORS
    is_high = radius > LOWEST_FREQUENCY
    return _bin_means(spectrum, ring, RINGS), _bin_means(spectrum[is_high], sector[is_high], SECTORS)


def _bin_means(values: NDArray[np.float64], bins: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    sums = np.bincount(bins.ravel(), values.ravel(), count)
    return sums / np.maximum(np.bincount(bins.ravel(), minlength=count), 1)


def trace_distance(a: Trace, b: Trace) -> float:
    """Return 1 - cosine of the traces; 1 if one of them is zero."""
    x, y = (np.concatenate([trace.radial.ravel(), trace.angular.ravel()]) for trace in (a, b))
    length = np.linalg.norm(x) * np.linalg.norm(y)
    return max(0.0, 1 - float(x @ y / length)) if length > 0 else 1.0


def build(config: Config) -> Measure:
    """Return the measure over the images."""
    return Measure(summarise=find_trace, distance=trace_distance, reads=READS, min_images=20)
