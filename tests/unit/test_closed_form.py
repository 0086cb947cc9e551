"""Heads in closed form: sums over tasks, ridge, discriminant and experts against direct solutions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.evaluation.predict import predict
from fakemedia.learning.sequence import learn_stage, restore_network
from fakemedia.learning.trainer import StageTrainer
from fakemedia.memory.memory import copy_pictures
from fakemedia.methods.experts import Config as ExpertsConfig
from fakemedia.methods.experts import Experts, ExpertsHead, task_centres
from fakemedia.methods.moments import BLOCK, Moments, inner_products, moments, solved
from fakemedia.methods.ridge import (
    STRENGTHS,
    ProjectedHead,
    Solver,
    TaskSolver,
    ValidationPictures,
    best_head,
    solver,
    task_solver,
    validation_pictures,
)
from fakemedia.methods.slda import discriminant
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.views import read_views, view_crops
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore
from tests.plans import make_plan
from tests.unit.conftest import noise

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",), ("c",)])
WIDTH = 6


def task(seed: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % 3 == 0).long()
    features = torch.randn(count, WIDTH, generator=source) * torch.arange(1, WIDTH + 1) + 3.0 * seed
    return features + labels[:, None] * torch.randn(WIDTH, generator=source), labels


TASKS = [task(seed, 30 + 10 * seed) for seed in range(3)]


def summed(*numbers: int) -> Moments:
    found = [moments("abc"[number], *TASKS[number]) for number in numbers]
    total = found[0]
    for each in found[1:]:
        total = total.plus(each)
    return total


def test_ridge_is_that_of_weighed_least_squares() -> None:
    """Against numpy on standardised features with a column of ones, each picture weighed by 1 / (cells n)."""
    features, labels = (np.concatenate([part[side].double().numpy() for part in TASKS]) for side in (0, 1))
    cells = np.concatenate([2 * number + part[1].numpy() for number, part in enumerate(TASKS)])
    weights = 1 / (6 * np.bincount(cells)[cells])
    mean = weights @ features
    deviation = np.sqrt(weights @ (features - mean) ** 2)
    standard = np.hstack([(features - mean) / deviation, np.ones((len(features), 1))])
    penalty = 0.3 * np.diag([1.0] * WIDTH + [0.0])
    solved = np.linalg.solve(standard.T @ (weights[:, None] * standard) + penalty,
                             standard.T @ (weights * (2.0 * labels - 1)))
    weight, bias = solver(summed(0, 1, 2)).head(0.3)
    np.testing.assert_allclose(weight.numpy(), solved[:-1] / deviation, rtol=1e-9)
    np.testing.assert_allclose(float(bias), solved[-1] - solved[:-1] @ (mean / deviation), rtol=1e-9)


@pytest.mark.parametrize("strength", [1e-3, 0.3, 100.0])
def test_the_inner_products_of_a_task_give_the_head_of_its_sums(strength: float) -> None:
    features, labels = TASKS[1]
    constant = torch.cat([features, torch.ones(len(features), 1)], 1)
    for values, of_task, kind in ((constant[:5], labels[:5], TaskSolver), (constant, labels, Solver)):
        found = task_solver(values, of_task)
        assert isinstance(found, kind)
        expected = solver(moments("b", values, of_task)).head(strength)
        torch.testing.assert_close(found.head(strength), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spread", [3.0, 7.0, 12.0])
def test_refinement_gives_the_digits_of_float64(spread: float) -> None:
    """At a condition number of 1e12 float32 cannot factor the matrix, and float64 does."""
    source = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(40, 40, generator=source, dtype=torch.float64))[0]
    matrix = (basis * torch.logspace(0, -spread, 40, dtype=torch.float64)) @ basis.T
    matrix, wanted = (matrix + matrix.T) / 2, torch.randn(40, generator=source, dtype=torch.float64)
    for strength in (0.0, 0.1):
        found = solved(matrix, strength, wanted)
        residual = matrix @ found + strength * found - wanted
        assert residual.norm() < 1e-15 * 10 * (wanted.norm() + found.norm())


def test_a_matrix_of_large_norm_needs_no_factor_in_float64(monkeypatch) -> None:
    """That of a discriminant whose features vary together: residuals of 1e-14 of the right side are out of reach."""
    matrix = torch.full((600, 600), 0.99, dtype=torch.float64).fill_diagonal_(1.0)
    wanted = torch.randn(600, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.linalg.solve(matrix, wanted)
    monkeypatch.setattr(torch.linalg, "cholesky", None)
    torch.testing.assert_close(solved(matrix, 0.0, wanted), expected, rtol=0, atol=1e-10)


def test_any_order_gives_the_same_head_and_a_task_can_be_taken_out() -> None:
    one, other = solver(summed(0, 1, 2)).head(0.01), solver(summed(2, 0, 1)).head(0.01)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    without = solver(summed(0, 1, 2).minus(summed(1))).head(0.01)
    torch.testing.assert_close(without, solver(summed(0, 2)).head(0.01), rtol=1e-8, atol=1e-8)


def test_sums_survive_a_checkpoint() -> None:
    sums = summed(0, 1)
    again = Moments.load(sums.state_dict())
    for name in ("cells", "totals", "scatter"):
        torch.testing.assert_close(getattr(again, name), getattr(sums, name), rtol=1e-14, atol=0)
    assert sums.state_dict()["scatter"].numel() == WIDTH * (WIDTH + 1) // 2
    with pytest.raises(UserError, match="earlier version"):
        Moments.load({"cells": torch.ones(2), "scatter": torch.ones(3)})


def test_sums_are_added_and_subtracted_only_where_that_is_right() -> None:
    with pytest.raises(UserError, match="'a' was learned before"):
        summed(0, 1).plus(summed(0))
    with pytest.raises(UserError, match="other features"):
        summed(0).plus(moments("b", TASKS[1][0][:, :3], TASKS[1][1]))
    one_more = torch.cat([TASKS[1][0], TASKS[1][0][:1]]), torch.cat([TASKS[1][1], TASKS[1][1][:1]])
    with pytest.raises(UserError, match="not those that were learned"):
        summed(0, 1).minus(moments("b", *one_more))


def test_a_class_without_pictures_is_no_cell() -> None:
    features, labels = TASKS[0]
    fakes = moments("fakes", features[labels == 1], labels[labels == 1])
    assert fakes.cells.tolist() == [0, 1]
    torch.testing.assert_close(summed(1).plus(fakes).totals, summed(1).totals + fakes.totals, rtol=1e-14, atol=0)


def chosen(errors: list[list[float]], tasks: str, labels: list[int], sources: str) -> int:
    """Return which of heads with the given outputs, all labels being wanted as 0 or 1, is taken."""
    outputs = torch.tensor(errors, dtype=torch.float64).sqrt().T
    wanted = torch.tensor([2.0 * label - 1 for label in labels], dtype=torch.float64)
    pictures = ValidationPictures((wanted[:, None] + outputs).double(), np.array(labels), np.array(list(tasks)),
                                  np.array(list(sources)))
    heads = torch.eye(len(errors), dtype=torch.float64)
    return pictures.best(lambda number: (heads[number], torch.tensor(0.0)), len(errors))


def test_validation_weighs_every_class_of_every_task_the_same() -> None:
    """The first head is right on the many pictures of one cell, the second on the few of the other three."""
    tasks, labels = "aaaaaabbb", [0, 0, 0, 0, 0, 1, 0, 1, 1]
    many, few = [0.0] * 5 + [1.0] * 4, [1.0] * 5 + [0.0] * 4
    assert chosen([many, few], tasks, labels, "abcdefghi") == 1
    assert chosen([few, many], tasks, labels, "abcdefghi") == 0


def test_the_strongest_head_within_one_standard_error_is_taken() -> None:
    tasks, labels, sources = "aaaaaaaa", [0, 0, 0, 0, 1, 1, 1, 1], "abcdefgh"
    weak = [1.0] * 8
    worse = [1.3, 0.9, 1.1, 1.0, 1.2, 0.8, 1.2, 1.0]
    more = np.array(worse) - 1
    centred = more - np.repeat([more[:4].mean(), more[4:].mean()], 4)
    error = np.sqrt(np.square(centred / 8).sum() * 8 / 7)
    assert more.mean() > error
    assert chosen([weak, worse], tasks, labels, sources) == 0
    noisier = (1 + more.mean() + 2 * centred).tolist()
    assert more.mean() < 2 * error
    assert chosen([weak, noisier], tasks, labels, sources) == 1
    # The same pictures from two sources, in which the differences add up to nothing.
    paired = 1 + more.mean() + 0.3 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    assert chosen([weak, paired.tolist()], tasks, labels, sources) == 1
    assert chosen([weak, paired.tolist()], tasks, labels, "xxyyxxyy") == 0


@pytest.mark.parametrize("least", range(len(STRENGTHS)))
def test_the_least_error_is_found_without_solving_all_heads(least: int) -> None:
    tried: list[int] = []
    heads = [abs(number - least) + 1.0 for number in range(len(STRENGTHS))]

    def head(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        tried.append(number)
        return torch.tensor([heads[number]], dtype=torch.float64), torch.tensor(0.0)

    pictures = ValidationPictures(torch.tensor([[1.0]] * 4 + [[-1.0]] * 4, dtype=torch.float64),
                                  np.array([0] * 4 + [1] * 4),
                                  np.array(["a"] * 8), np.array(list("abcdefgh")))
    assert pictures.best(head, len(heads)) == least
    assert len(tried) == len(set(tried)) <= 6


def test_inner_products_of_more_columns_than_a_block() -> None:
    values = torch.randn(7, BLOCK + 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(inner_products(values), values.T @ values, rtol=1e-12, atol=1e-12)


def test_the_strength_without_validation_and_as_given() -> None:
    sums = summed(0, 1)
    torch.testing.assert_close(best_head(solver(sums), None, None), solver(sums).head(1.0), rtol=0, atol=0)
    pictures = validation_pictures({"a": TASKS[0]}, {"a": [str(number) for number in range(len(TASKS[0][1]))]})
    torch.testing.assert_close(best_head(solver(sums), 3.0, pictures), solver(sums).head(3.0), rtol=0, atol=0)
    weight, _ = best_head(solver(sums), None, pictures)
    assert any(torch.equal(weight, solver(sums).head(strength)[0]) for strength in STRENGTHS)


def test_the_discriminant_is_that_of_class_means_and_the_common_covariance() -> None:
    weight, bias = discriminant(summed(0, 1), 1e-9)
    cells = [[features[labels == label].double() for features, labels in TASKS[:2]] for label in (0, 1)]
    means = [torch.stack([cell.mean(0) for cell in of_class]).mean(0) for of_class in cells]
    centred = [[cell - mean for cell in of_class] for of_class, mean in zip(cells, means, strict=True)]
    covariance = torch.stack([cell.T @ cell / len(cell) for of_class in centred for cell in of_class]).mean(0)
    expected = torch.linalg.solve(covariance, means[1] - means[0])
    torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(bias, -expected @ (means[0] + means[1]) / 2, rtol=1e-6, atol=1e-9)


def test_the_nearest_centre_chooses_the_expert() -> None:
    head = ExpertsHead(2, 3, WIDTH)
    for number, (features, _) in enumerate(TASKS[::2]):
        head.centres[number] = task_centres(features, 3, seed=0)
        head.weight.data[number], head.bias.data[number] = number + 1.0, 0.5
    features = torch.cat([TASKS[0][0][:5], TASKS[2][0][:5]])
    unit = nn.functional.normalize(features)
    nearest = torch.cdist(unit, head.centres.flatten(0, 1)).argmin(1) // 3
    assert torch.equal(head.route(features), nearest)
    logits = head(features)
    expected = (features * (nearest + 1.0)[:, None]).sum(1) + 0.5
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected)


def test_fewer_pictures_than_centres() -> None:
    assert task_centres(TASKS[0][0][:2], 5, seed=0).shape == (5, WIDTH)


@pytest.fixture(scope="module")
def stores(make_store):
    return {name: make_store(name, noise(24, 12, 30.0 + 10 * seed, seed)) for seed, name in enumerate("abc")}


@pytest.fixture(scope="module")
def one_class(stores) -> PixelStore:
    """The fake pictures of a task alone."""
    rows = np.flatnonzero(stores["b"].labels == 1)
    return copy_pictures(stores["b"], rows, np.arange(len(rows)))


@pytest.fixture(scope="module")
def learn(stores):
    def run(method: str, order: Iterable[Iterable[str]] = "abc", tune: str = "head", parent: Checkpoint | None = None,
            taps: str = "both", more: Mapping[str, PixelStore] = {}, folder: Path | None = None,
            views: tuple[str, ...] = ("centre",), **settings: Any) -> Iterator[Checkpoint]:
        stages, given = make_stages([tuple(names) for names in order]), {**stores, **more}
        plan = make_plan({method: settings}, stages=stages, training=TrainingConfig(batch_size=8, crop=8, views=views),
                         network=Plugin(name="convnet", settings={"width": 8, "depth": 2, "taps": taps})).resolved()
        plan = replace(plan, methods=tuple(replace(each, tune=tune) for each in plan.methods))
        for stage in stages:
            parent = learn_stage(plan=plan, method=method, seed=0, stage=stage, parent=parent, train=given,
                                 validation=given, folder=folder, runtime=CPU)
            yield parent

    return run


@pytest.mark.parametrize(("method", "settings"), [("ridge", {}), ("ridge", {"projection": 30}), ("slda", {})])
def test_a_sequence_ends_with_the_statistics_of_joint_training(learn, method: str, settings: dict) -> None:
    sequence = [*learn(method, **settings)][-1]
    joint, = learn(method, order=[("c", "a", "b")], **settings)
    assert sequence.method_state.keys() == joint.method_state.keys()
    for name, tensor in joint.method_state.items():
        torch.testing.assert_close(sequence.method_state[name], tensor, rtol=1e-9, atol=1e-9)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(sequence.weights[name], joint.weights[name], rtol=1e-6, atol=1e-6)  # float32


def test_a_projection_is_part_of_the_head_and_the_same_at_all_stages(learn, stores) -> None:
    first, _, third = learn("ridge", projection=30)
    assert torch.equal(first.weights["head.projection"], third.weights["head.projection"])
    head = restore_network(third).head
    assert isinstance(head, ProjectedHead)
    features = torch.randn(5, head.projection.shape[1], generator=torch.Generator().manual_seed(0))
    hidden = (features @ head.projection.T).clamp(min=0)
    torch.testing.assert_close(head(features), hidden @ head.weight.T + head.bias)
    right = (margins(third, stores) > 0) == np.concatenate([store.labels for store in stores.values()])
    assert right.mean() > 0.8


def test_a_parent_with_another_projection_is_refused(learn) -> None:
    parent = next(learn("ridge", projection=30))
    with pytest.raises(UserError, match="other features") as caught:
        next(learn("ridge", order="bc", parent=parent))
    assert "30 numbers a picture, found 40" in str(caught.value)


@pytest.mark.parametrize("method", ["ridge", "slda", "experts"])
def test_a_parent_of_other_taps_or_tune_is_refused(learn, method: str, tmp_path: Path) -> None:
    parent = next(learn(method))
    with pytest.raises(UserError, match="taps: head, found both"):
        next(learn(method, order="bc", parent=parent, taps="head", folder=tmp_path / "stage"))
    if method != "experts":  # whose state is its head
        with pytest.raises(UserError, match="tune: all, found head"):
            next(learn(method, order="bc", parent=parent, tune="all", folder=tmp_path / "stage"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["ridge", "slda"])
def test_a_stage_with_one_class(learn, one_class, method: str, tmp_path: Path) -> None:
    """It is refused while no other task has the other class; later it adds what it has."""
    fakes = {"fakes": one_class}
    with pytest.raises(UserError, match="one class only"):
        next(learn(method, order=[("fakes",)], more=fakes, folder=tmp_path / "stage"))
    assert not list(tmp_path.iterdir())
    alone, both = ([*learn(method, order=order, more=fakes)][-1] for order in (["a"], ["a", ("fakes",)]))
    assert not torch.equal(alone.weights["head.weight"], both.weights["head.weight"])
    assert both.weights["head.weight"].isfinite().all()


@pytest.mark.parametrize(("method", "settings"), [("ridge", {"strength": 1.0}), ("slda", {}),
                                                  ("experts", {"strength": 1.0})])
def test_every_training_view_counts_as_a_picture(learn, stores, make_store, method: str, settings: dict) -> None:
    rows = np.arange(len(stores["a"]))
    crops = {view: view_crops(stores["a"], rows, view, 8, 0) for view in read_views(["centre", "corners"])}
    store = make_store("a", np.concatenate([*crops.values()]))
    assert (store.labels == np.tile(stores["a"].labels, len(crops))).all()
    wanted, = learn(method, "a", more={"a": store}, **settings)
    found, = learn(method, "a", views=("centre", "corners"), **settings)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(found.weights[name], wanted.weights[name], rtol=1e-4, atol=1e-4)
    centre, = learn(method, "a", **settings)
    assert (centre.weights["head.weight"] - wanted.weights["head.weight"]).abs().max() > 1e-2


def margins(checkpoint: Checkpoint, stores: Mapping[str, Any]) -> np.ndarray:
    network = restore_network(checkpoint)
    return np.concatenate([predict(network, store, batch_size=8, crop=8) for store in stores.values()])


@pytest.mark.parametrize("method", ["ridge", "slda"])
def test_the_order_of_a_sequence_does_not_matter(learn, stores, method: str) -> None:
    one, other = (margins([*learn(method, order)][-1], stores) for order in ("abc", "cab"))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)  # float32 heads
    assert ((one > 0) == np.concatenate([store.labels for store in stores.values()])).mean() > 0.8


@pytest.mark.parametrize("tune", ["head", "all"])
@pytest.mark.parametrize("method", ["ridge", "slda", "experts"])
def test_the_body_is_left_alone_whatever_is_tuned(learn, method: str, tune: str) -> None:
    first, second, third = learn(method, tune=tune)
    assert all(torch.equal(tensor, third.weights[name]) for name, tensor in first.weights.items()
               if name.startswith("body."))
    assert {name for name in second.weights if name.startswith("head.")} >= {"head.weight", "head.bias"}


def test_an_expert_is_not_changed_by_later_ones(learn, stores) -> None:
    first, _, third = learn("experts", centres=2)
    for name in ("centres", "weight", "bias"):
        assert torch.equal(first.weights[f"head.{name}"], third.weights[f"head.{name}"][:1])
    right = (margins(third, stores) > 0) == np.concatenate([store.labels for store in stores.values()])
    assert right.mean() > 0.8


def test_an_expert_needs_both_classes() -> None:
    class OneClass(StageTrainer):
        def training_examples(self, stores: Mapping[str, Any], detector: Any, *, shared: bool = False) -> Iterator[Any]:
            detector.eval()
            yield type("Batch", (), {"inputs": torch.zeros(2, 3, 8, 8), "labels": torch.zeros(2, dtype=torch.int64)})

    from fakemedia.methods.method import StageData
    from fakemedia.networks import convnet

    stage = StageData(**vars(STAGES[0]), train={"a": None})  # type: ignore[dict-item]
    with pytest.raises(UserError, match="one class only"):
        Experts(ExpertsConfig(strength=1.0)).fit(stage, convnet.build(convnet.Config(), 0), OneClass(
            config=TrainingConfig(), runtime=CPU, seed=0))
