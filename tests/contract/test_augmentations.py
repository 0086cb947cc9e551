"""Every augmentation there is."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut

from fakemedia.core import plugin
from fakemedia.core.rng import generator
from fakemedia.store.augmentations import tone
from fakemedia.store.augmentations.augmentation import KIND, NONE, augment_version, augmented, make_augment
from fakemedia.store.augmentations.blur_jpeg import Config, build

NAMES = plugin.names(KIND)
PICTURE = np.ascontiguousarray(astronaut()[100:164, 180:244])


def test_those_of_wang_et_al_exist_and_none_is_none() -> None:
    assert {"blur_jpeg", "blur_jpeg_01"} <= set(NAMES)
    assert make_augment(NONE) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (33, 33)], ids=str)
def test_shape_type_and_input_are_kept(name: str, shape: tuple[int, int]) -> None:
    augment = make_augment(name)
    assert augment is not None
    crop = generator(0, "crop").integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = crop.copy()
    crop.flags.writeable = False
    for seed in range(20):
        changed = augment(crop, seed)
        assert changed.dtype == np.uint8
        assert changed.shape == crop.shape
    assert np.array_equal(crop, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides(name: str) -> None:
    augment = make_augment(name)
    assert augment is not None
    once = [augment(PICTURE, seed) for seed in range(40)]
    again = [augment(PICTURE, seed) for seed in reversed(range(40))][::-1]
    assert all(np.array_equal(*pair) for pair in zip(once, again, strict=True))
    assert len({crop.tobytes() for crop in once}) > 1
    assert isinstance(augment_version(name), int)


@pytest.mark.parametrize("name", NAMES)
def test_each_crop_of_a_batch_has_a_seed_of_its_own(name: str) -> None:
    augment = make_augment(name)
    assert augment is not None
    crops, counters = np.repeat(PICTURE[None], 32, 0), np.arange(32)
    whole = augmented(crops, augment, 5, counters)
    assert np.array_equal(whole[20:], augmented(crops[20:], augment, 5, counters[20:]))
    assert len({crop.tobytes() for crop in whole}) > 2
    assert not np.array_equal(whole, augmented(crops, augment, 6, counters))


@pytest.mark.parametrize(("probability", "unchanged"), [(0.0, 1.0), (0.1, 0.81), (0.5, 0.25), (1.0, 0.0)])
def test_blur_and_compression_are_independent_and_as_frequent_as_asked_for(probability: float,
                                                                           unchanged: float) -> None:
    augment = build(Config(probability=probability))
    kept = [np.array_equal(augment(PICTURE, seed), PICTURE) for seed in range(400)]
    assert np.mean(kept) == pytest.approx(unchanged, abs=0.06)


@pytest.mark.parametrize(("probability", "unchanged"), [(0.0, 1.0), (0.5, 0.25), (1.0, 0.0)])
def test_brightness_and_contrast_are_independent_and_as_frequent_as_asked_for(probability: float,
                                                                              unchanged: float) -> None:
    augment = tone.build(tone.Config(probability=probability))
    kept = [np.array_equal(augment(PICTURE, seed), PICTURE) for seed in range(400)]
    assert np.mean(kept) == pytest.approx(unchanged, abs=0.06)


def test_the_tone_of_a_grey_crop_is_that_of_one_factor_of_brightness() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)  # Contrast does not change it.
    changed = np.array([make_augment("tone")(grey, seed).astype(int) for seed in range(400)])  # type: ignore[misc]
    assert (changed == changed[:, :1, :1, :1]).all()
    levels = changed[:, 0, 0, 0]
    assert levels.min() in range(50, 54)
    assert levels.max() in range(147, 151)
    assert np.mean(levels == 100) == pytest.approx(0.5, abs=0.06)
