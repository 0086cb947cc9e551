"""What every similarity measure promises, whatever its name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fakemedia.core.errors import UserError
from fakemedia.core.plugin import create, names
from fakemedia.similarity.measure import Measure, TaskSample, check_samples, distance_matrix

MEASURES = names("similarity")
SETTINGS = {"family": {"families": {"soft": "blur", "softer": "blur", "noisy": "noise"}}}


class SmallNetwork(nn.Module):
    """Two fixed random convolutions over a high-pass of the image: a detector's contract without its file."""

    def __init__(self) -> None:
        super().__init__()
        torch_state = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 16, 3, stride=2)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=torch_state) / parameter[0].numel() ** 0.5

    def prepare(self, images):
        inputs = images.float() / 32
        return inputs - nn.functional.avg_pool2d(inputs, 3, 1, 1, count_include_pad=False)

    def features(self, inputs):
        return self.second(self.first(inputs).relu()).relu().mean((2, 3))


def sample(task: str, *, blur: float = 0.0, noise: float = 0.0, seed: int, count: int = 40) -> TaskSample:
    """Return textured real images, and fakes of the same kind: blurred (weight of a 2x2 mean) or with noise added."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(128, 25, (2 * count, 32, 32, 1)) + rng.normal(0, 8, (2 * count, 32, 32, 3))
    fakes = pictures[count:]
    smooth = (fakes + np.roll(fakes, 1, 1) + np.roll(fakes, 1, 2) + np.roll(fakes, (1, 1), (1, 2))) / 4
    pictures[count:] = (1 - blur) * fakes + blur * smooth + noise * rng.standard_normal(fakes.shape)
    return TaskSample(task=task, images=pictures.clip(0, 255).round().astype(np.uint8),
                      labels=np.repeat([0, 1], count), network=SmallNetwork())


@pytest.fixture(scope="module")
def samples() -> list[TaskSample]:
    return [sample("soft", blur=0.7, seed=1), sample("softer", blur=0.9, seed=2), sample("noisy", noise=30, seed=3)]


@pytest.fixture(params=MEASURES)
def measure(request) -> Measure:
    return create("similarity", request.param, SETTINGS.get(request.param, {}))


def test_the_measures_of_the_house_are_found():
    assert set(MEASURES) >= {"family", "fingerprint", "frechet", "mmd", "transfer", "fisher", "logme"}


def test_a_table_of_distances_labelled_by_task(measure, samples):
    table = distance_matrix(measure, samples, progress=False)
    assert list(table.index) == list(table.columns) == ["soft", "softer", "noisy"]
    values = table.to_numpy()
    assert values.dtype == np.float64
    assert (values >= 0).all()
    assert not values.diagonal().any()
    if measure.symmetric:
        np.testing.assert_array_equal(values, values.T)


def test_symmetric_unless_declared_otherwise(measure, samples):
    if not measure.symmetric:
        pytest.skip("declared asymmetric")
    summaries = [measure.summarise(sample) for sample in samples]
    for first in summaries:
        for second in summaries:
            assert measure.distance(first, second) == pytest.approx(measure.distance(second, first), abs=1e-12)


def test_zero_to_itself(measure, samples):
    itself, other = (measure.summarise(chosen) for chosen in (samples[2], samples[0]))
    assert 0 <= measure.distance(itself, itself) <= 0.02 * measure.distance(itself, other)


def test_declared_asymmetric_only_where_it_is(measure, samples):
    if measure.symmetric:
        pytest.skip("declared symmetric")
    values = distance_matrix(measure, samples, progress=False).to_numpy()
    assert not np.allclose(values, values.T)


def test_two_samples_of_one_task_are_closer_than_two_tasks(measure, samples):
    again = sample("noisy", noise=30, seed=4)
    first, same, other = (measure.summarise(chosen) for chosen in (samples[2], again, samples[0]))
    assert measure.distance(first, same) < 0.5 * measure.distance(first, other)


def test_the_order_of_images_does_not_matter(measure, samples):
    order = np.random.default_rng(0).permutation(len(samples[0].images))
    shuffled = [replace(s, images=s.images[order], labels=s.labels[order]) for s in samples]
    np.testing.assert_allclose(distance_matrix(measure, samples, progress=False),
                               distance_matrix(measure, shuffled, progress=False), rtol=1e-3, atol=1e-6)


def test_grows_as_one_task_is_perturbed(measure):
    if measure.reads == "name":
        pytest.skip("declared, not measured")
    start = measure.summarise(sample("start", blur=0.8, seed=5))
    changed = [measure.summarise(sample("changed", blur=0.8, noise=noise, seed=6)) for noise in (0, 15, 60)]
    distances = [measure.distance(start, summary) for summary in changed]
    assert distances == sorted(distances)
    assert distances[2] > 2 * distances[0]


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s[:1], "needs two tasks"),
    (lambda s: [*s, s[0]], "given twice"),
])
def test_tasks_that_cannot_be_compared(measure, samples, change, message):
    with pytest.raises(UserError, match=message):
        distance_matrix(measure, change(samples), progress=False)


@pytest.mark.parametrize(("changes", "message"), [
    ({"images": np.full((80, 32, 32, 3), 7, np.uint8)}, "constant"),
    ({"images": np.zeros((80, 32, 32, 3), np.float32)}, "float32"),
    ({"images": np.zeros((80, 48, 48, 3), np.uint8) + np.arange(48, dtype=np.uint8)[:, None]}, "48x48"),
    ({"labels": np.zeros(80, np.int64)}, "0 images of class 1_fake"),
    ({"labels": np.r_[np.zeros(79, np.int64), 1]}, "1 images of class 1_fake"),
    ({"labels": np.repeat([0, 2], 40)}, "labels"),
])
def test_images_that_cannot_be_measured(measure, samples, changes, message):
    if measure.reads == "name":
        pytest.skip("reads no images")
    broken = [*samples[:2], replace(samples[2], **changes)]
    with pytest.raises(UserError, match=message) as error:
        check_samples(measure, broken)
    assert "noisy" in str(error.value)


class BrokenNetwork(SmallNetwork):
    def features(self, inputs):
        return super().features(inputs) * float("nan")


@pytest.mark.parametrize(("network", "message"), [
    (None, "no network"), (BrokenNetwork(), "features of 80 images by the network are not finite"),
])
def test_features_that_cannot_be_used(measure, samples, network, message):
    if measure.reads != "features":
        pytest.skip("reads no features")
    with pytest.raises(UserError, match=message) as error:
        distance_matrix(measure, [*samples[:2], replace(samples[2], network=network)], progress=False)
    assert "noisy" in str(error.value)


def test_features_are_computed_once_and_the_network_is_left_as_it_was(samples):
    network = SmallNetwork().train()
    calls = []
    features = network.features
    network.features = lambda inputs: calls.append(len(inputs)) or features(inputs)
    given = [replace(s, network=network) for s in samples]
    for name in ("frechet", "mmd", "logme"):
        distance_matrix(create("similarity", name, {}), given, progress=False)
    assert sum(calls) == sum(len(s.images) for s in samples)
    assert network.training


def test_a_task_without_a_family(samples):
    with pytest.raises(UserError, match="No family is declared for the task 'noisy'"):
        distance_matrix(create("similarity", "family", {"families": {"soft": "blur", "softer": "blur"}}), samples,
                        progress=False)
