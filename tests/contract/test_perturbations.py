"""Every perturbation there is, at the strengths of the parameter file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from skimage.data import astronaut
from torch import from_numpy
from torchvision.transforms.v2 import functional as tv

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.rng import generator
from fakemedia.evaluation.perturbations.perturbation import UNPERTURBED, Condition, RobustnessConfig, make_conditions

PARAMETERS = yaml.safe_load((Path(__file__).parents[2] / "conf/base/parameters_robustness.yml").read_text())
STRENGTHS: dict[str, list[float]] = PARAMETERS["robustness"]["perturbations"]
NAMES = plugin.names("evaluation.perturbations")
UNCHANGED = {"contrast": 1, "brightness": 1, "resize": 1, "blur": 0, "noise": 0}
PICTURE = np.ascontiguousarray(astronaut()[100:196, 180:310])


def condition(name: str, strength: float) -> Condition:
    return make_conditions({name: [strength]}, where="test")[1]


def damage(changed: np.ndarray, picture: np.ndarray = PICTURE) -> float:
    """Return the mean squared error; a smaller peak signal-to-noise ratio is a larger one."""
    return float(np.mean((changed.astype(np.float64) - picture) ** 2))


def test_every_perturbation_is_in_the_parameter_file() -> None:
    assert sorted(STRENGTHS) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_is_named(name: str) -> None:
    assert plugin.constant("evaluation.perturbations", name, "UNIT", "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 3), (9, 8), (33, 17)], ids=str)
def test_shape_type_and_input_are_kept(name: str, shape: tuple[int, int]) -> None:
    picture = generator(0, "picture").integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = picture.copy()
    picture.flags.writeable = False
    for strength in STRENGTHS[name]:
        changed = condition(name, strength)(picture, "id")
        assert changed.shape == (*shape, 3)
        assert changed.dtype == np.uint8
    assert (picture == before).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_picture_is_perturbed_in_the_same_way(name: str) -> None:
    for strength in STRENGTHS[name]:
        first = condition(name, strength)(PICTURE, "id")
        assert (condition(name, strength)(PICTURE.copy(), "id") == first).all()
        assert damage(first) > 0


def test_pictures_of_the_same_pixels_get_noise_of_their_own() -> None:
    noise = condition("noise", 5.0)
    one, other = (noise(PICTURE, id).astype(int) - PICTURE for id in ("one", "other"))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05
    grey = np.full((200, 200, 3), 128, np.uint8)
    found = noise(grey, "one").astype(float) - 128
    assert found.std() == pytest.approx(5, rel=0.02)
    assert found.mean() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("name", sorted(UNCHANGED))
def test_the_strength_that_changes_nothing(name: str) -> None:
    assert (condition(name, UNCHANGED[name])(PICTURE, "id") == PICTURE).all()


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_with_strength(name: str) -> None:
    strengths = STRENGTHS[name]
    centre = UNCHANGED.get(name)
    sides = [strengths] if centre is None else [sorted((s for s in strengths if s < centre), reverse=True),
                                                sorted(s for s in strengths if s > centre)]
    for side in sides:
        found = [damage(condition(name, strength)(PICTURE, "id")) for strength in side]
        assert found == sorted(found)
        assert len(set(found)) == len(found)


@pytest.mark.parametrize(("name", "oracle"), [("contrast", tv.adjust_contrast), ("brightness", tv.adjust_brightness)])
def test_colours_equal_torchvision(name: str, oracle) -> None:
    image = from_numpy(PICTURE).permute(2, 0, 1)
    for strength in STRENGTHS[name]:
        expected = oracle(image, strength).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(condition(name, strength)(PICTURE, "id") - expected).max() <= 2


def test_blur_equals_torchvision() -> None:
    image = from_numpy(PICTURE.astype(np.float32)).permute(2, 0, 1)
    for sigma in STRENGTHS["blur"]:
        expected = tv.gaussian_blur(image, [8 * int(np.ceil(sigma)) + 1] * 2, [sigma] * 2).permute(1, 2, 0).numpy()
        inner = slice(20, -20)  # Elsewhere the two continue the picture differently.
        assert np.abs(condition("blur", sigma)(PICTURE, "id").astype(float) - expected)[inner, inner].max() < 1.1


@pytest.mark.parametrize(("name", "codec"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_codecs_equal_pillow(name: str, codec: str) -> None:
    for quality in STRENGTHS[name]:
        buffer = io.BytesIO()
        Image.fromarray(PICTURE).save(buffer, codec, quality=int(quality))
        expected = np.asarray(Image.open(buffer).convert("RGB"))
        assert (condition(name, quality)(PICTURE, "id") == expected).all()


def test_the_second_compression_does_damage_of_its_own() -> None:
    for quality in STRENGTHS["double_jpeg"]:
        once, twice = (damage(condition(name, quality)(PICTURE, "id")) for name in ("jpeg", "double_jpeg"))
        assert twice > 1.1 * once


def test_a_picture_too_large_for_the_format_is_told() -> None:
    with pytest.raises(UserError, match="16384 x 1 pixels is too large for WEBP"):
        condition("webp", 50)(np.zeros((1, 16384, 3), np.uint8), "id")


def test_conditions_begin_with_the_picture_as_it_is() -> None:
    conditions = RobustnessConfig(perturbations={"jpeg": (50.0, 10.0), "webp": (), "blur": (1.0,)}).conditions()
    assert [(each.name, each.strength) for each in conditions] == [
        (UNPERTURBED, 0.0), ("jpeg", 50.0), ("jpeg", 10.0), ("blur", 1.0)]
    assert (conditions[0](PICTURE, "id") == PICTURE).all()


@pytest.mark.parametrize(("perturbations", "message"), [
    ({}, "no perturbations"),
    ({"jpg": [50]}, r"did you mean 'jpeg'"),
    ({"jpeg": []}, "no perturbations"),
    ({"jpeg": [50, 50]}, "once each"),
    ({"jpeg": [101]}, r"quality from 1 to 100"),
    ({"jpeg": [50.5]}, r"whole number"),
    ({"blur": [float("nan")]}, r"standard deviation from 0 to 50"),
    ({"resize": [0]}, r"share from 0\.01 to 1"),
    ({"contrast": [-1]}, r"here\.contrast"),
])
def test_what_cannot_be_meant_is_told(perturbations: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_conditions(perturbations, where="here")
