"""What every family of the forge promises, and the trace that each of them claims."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
from PIL import Image

from fakemedia.core.plugin import constant, create, names
from fakemedia.core.rng import generator
from fakemedia.forge.patches import random_crop
from fakemedia.forge.photographs import find_photographs

OPTIONAL = {"neural_translation"}
"""Families whose package is in the extra `forge` only."""


def is_installed(family: str) -> bool:
    package = constant("forge", family, "PACKAGE", None)
    try:
        return package is None or bool(distribution(package))
    except PackageNotFoundError:
        return False


FAMILIES = [name for name in names("forge") if name not in OPTIONAL or is_installed(name)]


@cache
def crops(count: int = 24, size: int = 64) -> tuple[np.ndarray, ...]:
    photographs = [Image.Image.copy(p.read()) for p in find_photographs("packaged", 0)["train"]]
    return tuple(random_crop(photographs[i % len(photographs)], size, (0.5, 0.6), generator(0, "crop", i))
                 for i in range(count))


@cache
def pairs(family: str, **settings) -> list[tuple[np.ndarray, np.ndarray]]:
    maker = create("forge", family, settings)
    return [maker(crop, generator(0, "maker", i)) for i, crop in enumerate(crops())]


def mean_spectrum(pictures: list[np.ndarray]) -> np.ndarray:
    """Mean power spectrum of the grey values, (H, W), zero frequency first."""
    grey = np.stack([picture.astype(float).mean(axis=2) for picture in pictures])
    window = np.outer(np.hanning(grey.shape[1]), np.hanning(grey.shape[2]))
    return (np.abs(np.fft.fft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window)) ** 2).mean(axis=0)


def spectra(family: str, **settings) -> tuple[np.ndarray, np.ndarray]:
    real, fake = zip(*pairs(family, **settings), strict=True)
    return mean_spectrum(list(real)), mean_spectrum(list(fake))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_has_one_shape_and_real_differs_from_fake(family):
    for crop, (real, fake) in zip(crops(), pairs(family), strict=True):
        assert real.dtype == fake.dtype == np.uint8
        assert real.shape == fake.shape == crop.shape
        assert np.mean(real != fake) > 0.05
        assert abs(real.mean() - fake.mean()) < 6


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_generator_gives_the_same_pair(family):
    maker = create("forge", family, {})
    for i in range(6):
        again = maker(crops()[i], generator(0, "maker", i))
        assert all(np.array_equal(a, b) for a, b in zip(pairs(family)[i], again, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_crop_is_not_changed_in_place(family):
    before = crops()[0].copy()
    create("forge", family, {})(crops()[0], generator(0))
    assert np.array_equal(crops()[0], before)


@pytest.mark.parametrize("family", FAMILIES)
def test_grey_stays_grey(family):
    """A coloured trace would mark the fakes of grey photographs for free."""
    grey = np.repeat(crops()[0].mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    for picture in create("forge", family, {})(grey, generator(0)):
        assert np.ptp(picture.astype(int), axis=2).max() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_any_size_is_taken(family):
    real, fake = create("forge", family, {})(np.ascontiguousarray(crops()[0][:45, :31]), generator(0))
    assert real.shape == fake.shape == (45, 31, 3)


@pytest.mark.parametrize(("stride", "kernel"), [(2, 3), (2, 5), (4, 6)])
def test_upsampling_leaves_peaks_at_the_strides_frequency(stride, kernel):
    real, fake = spectra("upsampling", stride=stride, kernel=kernel)
    peak = real.shape[0] // stride
    around = np.r_[peak - 5 : peak - 2, peak + 3 : peak + 6] % real.shape[0]
    assert fake[peak, 0] > 5 * fake[around, 0].mean()
    assert fake[peak, 0] > 5 * real[peak, 0]


@pytest.mark.parametrize("factor", [2, 3])
def test_super_resolution_loses_the_band_above_the_small_pictures_limit(factor):
    real, fake = spectra("superresolution", factor=factor)
    frequency = np.abs(np.fft.fftfreq(real.shape[0]))
    above = np.maximum(frequency[:, None], frequency) > 0.85 * max(0.5 / factor, 0.4)
    assert fake[above].sum() < 0.5 * real[above].sum()


def test_blending_changes_the_middle_and_keeps_the_border():
    for real, fake in pairs("blending"):
        assert np.array_equal(real[:2], fake[:2])
        assert not np.array_equal(real[24:40, 24:40], fake[24:40, 24:40])


@pytest.mark.parametrize("factor", [2, 4])
def test_latent_noise_is_correlated_over_a_cell(factor):
    noise = np.stack([fake.astype(float).mean(axis=2) - real.mean(axis=2)
                      for real, fake in pairs("latent", factor=factor, smoothing=0.0)])
    inside, across = noise[:, ::factor] - noise[:, 1::factor], noise[:, factor::factor] - noise[:, factor - 1:-1:factor]
    assert np.abs(inside).mean() < 0.25 * np.abs(across).mean()


@pytest.mark.parametrize("trained_on", ["photo", "art"])
def test_neural_super_resolution_keeps_the_picture_and_loses_the_highest_band(trained_on):
    made = pairs("neural_sr", trained_on=trained_on)
    error = np.mean([np.square(fake.astype(float) - real).mean() for real, fake in made])
    assert 10 * np.log10(255**2 / error) > 25
    real, fake = spectra("neural_sr", trained_on=trained_on)
    frequency = np.abs(np.fft.fftfreq(real.shape[0]))
    above = np.maximum(frequency[:, None], frequency) > 0.4
    assert fake[above].sum() < 0.5 * real[above].sum()


@pytest.mark.parametrize("family", sorted({"neural_style", "neural_translation"} & {*FAMILIES}))
def test_a_repainted_picture_keeps_its_colours(family):
    for real, fake in pairs(family):
        difference = fake.astype(int) - real
        inside = ((fake > 0) & (fake < 255)).all(axis=2)
        assert np.ptp(difference[inside], axis=1).max() <= 1
