"""What the trainer expects of every method, and what every method's file declares of it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.learning.trainer import StageTrainer
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.memory import Memory, StoredPictures
from fakemedia.methods.method import GradientMethod, Method, StageData, facts
from fakemedia.networks import convnet
from fakemedia.networks.detector import Detector
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import Batch
from fakemedia.store.pixels import PixelStore
from tests.unit.conftest import GivenPictures, noise

FIRST, SECOND = (StageData(**vars(stage)) for stage in make_stages([("a",), ("b",)]))
CPU = Runtime(accelerator="cpu", precision="float32")
CONFIG = TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01)
NAMES = plugin.names("methods")
CASES = [(name, preset) for name in NAMES for preset in (None, *getattr(plugin.load("methods", name), "PRESETS", {}))]


def _method(name: str, preset: str | None = None) -> Method:
    settings = {} if preset is None else {"preset": preset}
    return plugin.load("methods", name).build(plugin.resolve("methods", name, settings), seed=1)


GRADIENT_CASES = [case for case in CASES if isinstance(_method(*case), GradientMethod)]


def _detector(seed: int) -> Detector:
    return convnet.build(convnet.Config(width=8, depth=3), seed)


def _batch(detector: Detector, seed: int) -> Batch:
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (6, 3, 12, 12), generator=source, dtype=torch.uint8)
    labels = torch.arange(6) % 2
    return Batch(images=images, labels=labels, tasks=torch.zeros_like(labels), rows=torch.arange(6),
                 inputs=detector.prepare(images))


def _gradient(name: str, preset: str | None) -> GradientMethod:
    method = _method(name, preset)
    assert isinstance(method, GradientMethod)
    return method


def _memory(crop: int) -> MemoryBatches:
    """Return pictures of a task that was learned earlier."""
    pictures = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    images = pd.DataFrame({"id": [f"{number}" for number in range(8)], "label": np.arange(8) % 2, "source": "s",
                           "height": 12, "width": 12, "rank": np.arange(8) // 2})
    memory = Memory({"a": StoredPictures("a", "native", images, pictures.reshape(-1))})
    return MemoryBatches(memory, crop=crop, flip=True, seed=1)


def _second() -> StageData:
    memory = _memory(12)
    return replace(SECOND, train={"b": memory.memory.stores["a"]}, memory=memory)


def _terms(method: GradientMethod, detector: Detector, batch: Batch) -> dict[str, torch.Tensor]:
    batch = method.mix(batch, 0)
    inputs = detector.prepare(batch.images)
    return method.loss(detector, replace(batch, inputs=inputs), detector(inputs))


def _at_second_stage(method: GradientMethod) -> Detector:
    """Bring `method` to its second stage; return a detector that has moved away from the first stage's end."""
    parent = _detector(seed=1)
    method.before_stage(FIRST, parent)
    parent.eval()
    method.after_stage(FIRST, parent, [_batch(parent, 1), _batch(parent, 2)])
    method.remember(_memory(12).memory, parent, StageTrainer(config=replace(CONFIG, crop=12), runtime=CPU, seed=1))
    method.before_stage(_second(), parent)
    return _detector(seed=2)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PixelStore]:
    folder, made = tmp_path_factory.mktemp("stores"), {}
    for seed, task in enumerate("ab"):
        source = GivenPictures(task, noise(24, 12, 30.0 + 20 * seed, seed))
        index = build_index(source, task, workers=1, progress=False)
        made[task] = build_store(index, source, "train", folder / task, workers=1, progress=False)
    return made


def _fitted(name: str, stores: dict[str, PixelStore], *, stages: int,
            memory: bool = True) -> tuple[Method, Detector, list[StageTrainer]]:
    """Return a method with the detector that it fitted to so many stages, each by a new method with the state."""
    detector, method, trainers = _detector(seed=3), _method(name), []
    for stage in (FIRST, SECOND)[:stages]:
        state = method.state_dict()
        method = _method(name)
        if stage.index > 1 and facts(name).scope == "stage":
            method.load_state_dict(state)
        tasks = stage.seen if facts(name).scope == "seen" else stage.tasks
        data = replace(stage, train={task: stores[task] for task in tasks}, seed=stage.index,
                       validation={task: stores[task] for task in stage.seen},
                       memory=_memory(CONFIG.crop) if memory and stage.index > 1 else None)
        trainers.append(StageTrainer(config=CONFIG, runtime=CPU, seed=stage.index))
        with CPU.reproducible():
            method.fit(data, detector, trainers[-1])
            method.remember(_memory(CONFIG.crop).memory, detector, trainers[-1])
    return method, detector, trainers


@pytest.fixture(autouse=True)
def global_randomness_untouched() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


def _equal(one: Detector, two: Detector, part: str = "") -> bool:
    states = [{name: value for name, value in each.state_dict().items() if name.startswith(part)}
              for each in (one, two)]
    return states[0].keys() == states[1].keys() and all(torch.equal(*pair) for pair in zip(
        *(state.values() for state in states), strict=True))


@pytest.mark.parametrize("name", NAMES)
class TestEveryMethod:
    def test_its_file_declares_what_is_known(self, name: str) -> None:
        declared = facts(name)
        assert declared.scope in ("stage", "seen")
        assert isinstance(declared.version, int)
        assert all(isinstance(value, bool) for key, value in vars(declared).items() if key not in ("scope", "version"))

    def test_two_fits_are_equal_and_finite(self, name: str, stores: dict[str, PixelStore]) -> None:
        one, two = (_fitted(name, stores, stages=2) for _ in range(2))
        assert _equal(one[1], two[1])
        assert all(value.isfinite().all() for value in one[1].state_dict().values())
        assert all(isinstance(value, torch.Tensor) and torch.equal(value, two[0].state_dict()[key])
                   for key, value in one[0].state_dict().items())

    def test_the_first_stage_is_fine_tuning_bit_for_bit_or_not_as_declared(self, name: str,
                                                                           stores: dict[str, PixelStore]) -> None:
        equal = _equal(_fitted(name, stores, stages=1)[1], _fitted("finetune", stores, stages=1)[1])
        assert equal == facts(name).first_stage_is_finetune

    def test_the_body_is_trained_or_not_as_declared(self, name: str, stores: dict[str, PixelStore]) -> None:
        _, detector, _ = _fitted(name, stores, stages=2)
        assert _equal(detector, _detector(seed=3), "body.") != facts(name).trains_body

    def test_the_selected_weights_are_changed_or_not_as_declared(self, name: str,
                                                                 stores: dict[str, PixelStore]) -> None:
        _, detector, trainers = _fitted(name, stores, stages=2)
        if trainers[-1].trained is None:
            pytest.skip("it runs no loop: nothing is selected")
        selected = _detector(seed=0)
        selected.load_state_dict(trainers[-1].trained.weights)
        assert _equal(detector, selected) != facts(name).changes_selected

    def test_it_needs_memory_or_not_as_declared(self, name: str, stores: dict[str, PixelStore]) -> None:
        if facts(name).needs_memory:
            with pytest.raises(UserError):
                _fitted(name, stores, stages=2, memory=False)
        else:
            _fitted(name, stores, stages=2, memory=False)

    def test_modes_and_gradient_flags_of_the_detector_are_kept(self, name: str, stores: dict[str, PixelStore]) -> None:
        _, detector, _ = _fitted(name, stores, stages=2)
        assert all(parameter.requires_grad for parameter in detector.parameters())


@pytest.mark.parametrize(("name", "preset"), GRADIENT_CASES)
class TestEveryGradientMethod:
    def test_first_stage_is_fine_tuning_bit_for_bit(self, name: str, preset: str | None) -> None:
        if not facts(name).first_stage_is_finetune:
            pytest.skip("declared otherwise")
        detector = _detector(seed=1)
        batch = _batch(detector, 3)
        losses = []
        for method in (_gradient(name, preset), _gradient("finetune", None)):
            method.before_stage(FIRST, detector)
            losses.append(_terms(method, detector, batch)["total"])
        assert torch.equal(*losses)

    def test_terms_are_finite_scalars(self, name: str, preset: str | None) -> None:
        method = _gradient(name, preset)
        detector = _at_second_stage(method)
        terms = _terms(method, detector, _batch(detector, 3))
        assert "total" in terms
        for term in terms.values():
            assert term.shape == ()
            assert term.dtype == torch.float32
            assert torch.isfinite(term)

    def test_total_reaches_every_parameter(self, name: str, preset: str | None) -> None:
        method = _gradient(name, preset)
        detector = _at_second_stage(method)
        _terms(method, detector, _batch(detector, 3))["total"].backward()
        method.after_backward(detector)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in detector.parameters())

    def test_half_precision_logits_are_compared_in_full(self, name: str, preset: str | None) -> None:
        method = _gradient(name, preset)
        detector = _at_second_stage(method)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = _terms(method, detector, _batch(detector, 3))
        assert all(term.dtype == torch.float32 for term in terms.values())

    def test_state_round_trip_gives_the_same_loss(self, name: str, preset: str | None) -> None:
        whole = _gradient(name, preset)
        detector = _at_second_stage(whole)
        for improved in (True, *[False] * 6):
            whole.after_epoch(validated=True, improved=improved)
        resumed = _gradient(name, preset)
        resumed.load_state_dict(deepcopy(whole.state_dict()))
        resumed.before_stage(_second(), _detector(seed=1))
        resumed.load_state_dict(deepcopy(whole.state_dict()))
        batch = _batch(detector, 3)
        assert torch.equal(_terms(whole, detector, batch)["total"], _terms(resumed, detector, batch)["total"])
        assert all(isinstance(value, torch.Tensor) for value in whole.state_dict().values())

    def test_hooks_leave_the_detector_alone(self, name: str, preset: str | None) -> None:
        method = _gradient(name, preset)
        detector = _at_second_stage(method)
        detector.body[1].requires_grad_(False)  # type: ignore[index]
        batch = _batch(detector, 3)
        logits = detector(batch.inputs)
        modes = [module.training for module in detector.modules()]
        weights = {key: value.clone() for key, value in detector.state_dict().items()}
        fresh = _gradient(name, preset)
        hooks = (partial(fresh.before_stage, FIRST), lambda each: fresh.loss(each, batch, logits)["total"].backward(),
                 fresh.after_backward, fresh.after_step,
                 lambda _: fresh.after_epoch(validated=True, improved=True),
                 lambda each: fresh.after_stage(FIRST, each, [batch]), partial(fresh.before_stage, _second()))
        for hook in hooks:
            hook(detector)
        assert [module.training for module in detector.modules()] == modes
        assert [p.requires_grad for p in detector.body[1].parameters()] == [False]  # type: ignore[index]
        assert all(p.requires_grad for p in detector.head.parameters())
        assert all(torch.equal(value, weights[key]) for key, value in detector.state_dict().items())

    def test_what_is_held_of_the_parent_takes_no_gradient(self, name: str, preset: str | None) -> None:
        method = _gradient(name, preset)
        detector = _at_second_stage(method)
        batch = _batch(detector, 3)
        held = [value for value in vars(method).values() if isinstance(value, torch.nn.Module)]
        _terms(method, detector, batch)["total"].backward()
        assert all(p.grad is None and not p.requires_grad for module in held for p in module.parameters())
        assert not any(module.training for top in held for module in top.modules())
