"""The measures' formulas against values computed another way."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import nn

from fakemedia.similarity.fingerprint import Trace, trace_distance
from fakemedia.similarity.fisher import gain_fisher, task2vec_distance
from fakemedia.similarity.frechet import Gaussian, fit_gaussian, frechet_distance
from fakemedia.similarity.logme import bayes_factor, log_evidence, moments
from fakemedia.similarity.mmd import squared_mmd, summarise_cloud
from fakemedia.similarity.probe import Probe, fit_probe
from fakemedia.similarity.spectra import spectral_statistics
from fakemedia.similarity.transfer import TaskProbe, sensitivity, separability_lost


def test_frechet_of_axis_aligned_gaussians():
    """For diagonal covariances d2 = |m_a - m_b|^2 + sum of (sigma_a - sigma_b)^2."""
    a = Gaussian(np.array([0.0, 0.0]), np.diag([1.0, 2.0]))
    b = Gaussian(np.array([3.0, 4.0]), np.diag([4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(25 + 9 + 1)


@pytest.mark.parametrize(("count", "width"), [(50, 6), (5, 12)])
def test_frechet_is_the_definition_with_a_matrix_root(count, width):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(count, width)), rng.normal(1, 2, size=(count + 3, width))
    root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert frechet_distance(fit_gaussian(x), fit_gaussian(y)) == pytest.approx(expected, rel=1e-4)


def test_mmd_by_hand():
    """D = 1, x = {0, 1}, y = {1, 2}: k(0, 1) = 1; k(1, 2) = 27; cross k = 1, 1, 8, 27."""
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert squared_mmd(summarise_cloud(x), summarise_cloud(y)) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_mmd_is_unbiased():
    rng = np.random.default_rng(0)
    values = [squared_mmd(summarise_cloud(rng.normal(size=(10, 3))), summarise_cloud(rng.normal(size=(10, 3))))
              for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20


@pytest.mark.parametrize(("count", "width"), [(40, 3), (12, 20)])
def test_log_evidence_is_the_maximum_of_the_marginal_likelihood(count, width):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(count, width))
    targets = features[:, 0] + 0.5 * rng.normal(size=count)

    def loss(logs):
        covariance = np.eye(count) * np.exp(-logs[1]) + features @ features.T * np.exp(-logs[0])
        return -multivariate_normal.logpdf(targets, cov=covariance)

    expected = -minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).fun
    assert log_evidence(moments(features, targets)) == pytest.approx(expected, rel=1e-3)


def test_one_rule_is_told_from_two():
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(2, 5))

    def task(rule):
        features = rng.normal(size=(200, 5))
        data = moments(features, features @ weights[rule] + 0.1 * rng.normal(size=200))
        return data, log_evidence(data)

    assert bayes_factor(task(0), task(0)) == 0
    assert bayes_factor(task(0), task(1)) > 1


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 3, bias=False)

    def prepare(self, images):
        return images.double() / 255

    def features(self, inputs):
        return self.linear(self.conv(inputs).tanh().mean((2, 3)))


def test_gain_fisher_is_that_of_the_filters_scales():
    """A gain on a channel scales its filter: its slope at 1 is the sum of weight * gradient over the filter."""
    torch.manual_seed(0)
    network = TwoLayers().double()
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    probe = Probe(np.array([1.0, -2.0, 0.5]), 0.3)
    expected = np.zeros(7)
    for image in images:
        for label in (0, 1):
            network.zero_grad()
            inputs = network.prepare(torch.from_numpy(image[None]).permute(0, 3, 1, 2))
            logit = network.features(inputs)[0] @ torch.from_numpy(probe.weight) + probe.bias
            log_chance = nn.functional.logsigmoid(logit if label else -logit)
            log_chance.backward()
            scales = torch.cat([(layer.weight * layer.weight.grad).flatten(1).sum(1)
                                for layer in (network.conv, network.linear)])
            expected += (log_chance.exp() * scales.square()).detach().numpy() / len(images)
    np.testing.assert_allclose(gain_fisher(network, images, probe), expected, rtol=1e-6)


def test_task2vec_by_hand():
    """F_a = (1, 0), F_b = (1, 1): normalised (1/2, 0) and (1/2, 1), cosine 1 / sqrt(5)."""
    assert task2vec_distance(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(1 - 1 / np.sqrt(5))
    assert task2vec_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)


def test_probe_minimises_its_objective():
    rng = np.random.default_rng(3)
    features = np.c_[rng.normal(5, 3, (60, 2)), np.ones(60)]
    labels = (features[:, 0] + 3 * rng.normal(size=60) > 5).astype(int)
    scale = features[:, :2].std(axis=0)

    def loss(parameters):
        logits = (features[:, :2] - features[:, :2].mean(axis=0)) / scale @ parameters[:2] + parameters[2]
        return np.logaddexp(0, np.where(labels, -logits, logits)).mean() + 0.05 / 2 * np.square(parameters[:2]).sum()

    best = minimize(loss, np.zeros(3)).x
    probe = fit_probe(features, labels, 0.05)
    np.testing.assert_allclose(probe.weight, [*(best[:2] / scale), 0], atol=1e-3)


def test_the_level_of_white_noise():
    """ln of an exponential variable of mean P has the mean ln P - 0.5772; P = sigma^2 times the window's energy."""
    sigma = 20.0
    grey = np.random.default_rng(4).normal(128, sigma, (200, 64, 64, 1)).clip(0, 255).round()
    level, spread = spectral_statistics(np.repeat(grey, 3, axis=3).astype(np.uint8))
    window = np.outer(np.hanning(18)[1:-1], np.hanning(18)[1:-1])
    expected = np.log(sigma**2 * np.square(window).sum()) - np.euler_gamma
    assert level.shape == spread.shape == (200, 16, 9)
    np.testing.assert_allclose(level[:, 3:8, 3:8].mean(0), expected, atol=0.1)
    assert spread[:, 3:8, 3:8].mean() == pytest.approx(np.pi / np.sqrt(6), rel=0.05)


def test_trace_distance_by_hand():
    """x = (3, 0, ..., 4), y = (2, 0, ..., 0): cosine 3 / 5, at any strength."""
    a = Trace(np.array([[3.0, 0], [0, 0]]), np.array([[0.0, 0], [0, 4]]))
    b = Trace(np.array([[2.0, 0], [0, 0]]), np.zeros((2, 2)))
    assert trace_distance(a, b) == pytest.approx(1 - 3 / 5)
    assert trace_distance(a, Trace(-b.radial, b.angular)) == pytest.approx(1 + 3 / 5)
    assert trace_distance(a, Trace(np.zeros((2, 2)), np.zeros((2, 2)))) == 1


def test_separability_lost_by_hand():
    """Along x the classes lie 4 apart with deviation 1, along y 2 apart with deviation 2: sensitivities 4 and 1."""
    features = np.array([[-1.0, -2], [1, 2], [3, 0], [5, 4]])
    labels = np.array([0, 0, 1, 1])
    along_x = TaskProbe(Probe(np.array([1.0, 0.0]), 0.0), features, labels)
    along_y = TaskProbe(Probe(np.array([0.0, 1.0]), 7.0), features, labels)
    assert sensitivity(along_x, along_x) == pytest.approx(4)
    assert sensitivity(along_y, along_x) == pytest.approx(1)
    assert separability_lost(along_y, along_x) == pytest.approx(3 / 4)
    assert separability_lost(along_x, along_y) == 0
    backwards = TaskProbe(Probe(np.array([-1.0, 0.0]), 0.0), features, labels)
    assert separability_lost(backwards, along_x) == 2
    assert separability_lost(along_x, backwards) == 1
