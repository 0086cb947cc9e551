"""The loop: schedules, selection of the epoch, reproducibility, resuming, and a loss that is not finite."""

import json
import math
import signal
import time
from dataclasses import replace

import pytest
import torch

from fakemedia.core.errors import UserError
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.optimizers import Schedule, make_optimizer
from fakemedia.learning.resume import resume_path
from fakemedia.learning.trainer import StageTrainer
from fakemedia.learning.training_loop import history_path
from fakemedia.learning.validation import PASSES, validation_images
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks import convnet
from fakemedia.runtime.device import Runtime

CPU = Runtime(accelerator="cpu", precision="float32")
CONFIG = TrainingConfig(epochs=4, batch_size=8, crop=8, lr=0.01)
(STAGE,) = make_stages([("noise",)])


class Interrupt(Exception):
    """Stands for a killed process."""


class Counting(GradientMethod):
    """Has a state that an interruption must not lose, and draws from torch's generator as dropout does."""

    def __init__(self):
        self.weight = 1.0
        self.improvements = []

    def loss(self, detector, batch, logits):
        terms = super().loss(detector, batch, logits)
        return {"noise": torch.rand(()), "total": self.weight * terms["total"]}

    def after_epoch(self, *, validated, improved):
        self.weight *= 0.5
        self.improvements.append(improved)

    def state_dict(self):
        return {"weight": torch.tensor(self.weight)}

    def load_state_dict(self, state):
        self.weight = float(state["weight"])


@pytest.fixture
def train(noise_store):
    def run(config=CONFIG, method=None, validation=None, folder=None, identity=None, on_epoch=None, runtime=CPU):
        detector = CPU.place(convnet.build(convnet.Config(width=8, depth=2), 0))
        stores = {"noise": noise_store(seed=1)} if validation is None else validation
        stage = StageData(**vars(STAGE), train={"noise": noise_store()}, validation=stores, seed=1)
        trainer = StageTrainer(config=config, runtime=runtime, seed=5, folder=folder, identity=identity or {},
                               on_epoch=on_epoch)
        trainer.train(method or Counting(), stage, detector)
        return trainer.trained

    return run


def assert_same(one, two):
    assert one.history == two.history
    assert one.best_epoch == two.best_epoch
    assert all(torch.equal(tensor, two.weights[name]) for name, tensor in one.weights.items())


def rates_of(config, steps, killed_after=None):
    """Return the learning rate of each step; all state is restored from the disk after one of them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule, rates = Schedule(optimizer, config, steps), []
    for step in range(config.epochs * steps):
        rates.append(schedule.rate)
        optimizer.step()
        schedule.after_step()
        if (step + 1) % steps == 0:
            schedule.after_epoch()
        if step == killed_after:
            states = optimizer.state_dict(), schedule.state_dict()
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
            schedule = Schedule(optimizer, config, steps)
            optimizer.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
    return rates


def half_cosine(start, end, part):
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def test_one_cycle_goes_up_for_three_tenths_and_then_down():
    rates = rates_of(TrainingConfig(epochs=10, lr=0.1, schedule="one_cycle"), 10)
    peak = 29
    assert rates == pytest.approx([half_cosine(0.1 / 25, 0.1, step / peak) if step <= peak
                                   else half_cosine(0.1, 0.1 / 250_000, (step - peak) / (99 - peak))
                                   for step in range(100)])


def test_cosine_goes_down_and_up_again_by_epoch():
    rates = rates_of(TrainingConfig(epochs=25, lr=0.005, lr_min=1e-5, period=10, schedule="cosine"), 2)
    assert rates == pytest.approx([half_cosine(0.005, 1e-5, step // 2 / 10) for step in range(50)])
    assert rates[20] == pytest.approx(1e-5)
    assert rates[40] == pytest.approx(0.005)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("killed_after", [0, 3, 5, 13])
def test_a_restored_schedule_goes_on_bit_for_bit(schedule, killed_after):
    config = TrainingConfig(epochs=5, lr=0.1, period=3, schedule=schedule)
    assert rates_of(config, 3, killed_after) == rates_of(config, 3)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps(steps):
    rates = rates_of(TrainingConfig(epochs=1, lr=0.1, schedule="one_cycle"), steps)
    assert max(rates) <= 0.1
    assert min(rates) > 0


def test_constant():
    assert rates_of(TrainingConfig(lr=0.1, epochs=9, schedule="constant"), 3) == [0.1] * 27


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_norms_and_biases_are_not_decayed(optimizer):
    """Without gradients of the loss, a step changes nothing but what is decayed."""
    network = convnet.build(convnet.Config(width=8, depth=2), 0)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    made = make_optimizer(network, TrainingConfig(optimizer=optimizer, lr=0.1, weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    decayed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    assert decayed == {name for name, value in before.items() if value.ndim > 1}
    assert torch.allclose(network.get_parameter("head.weight"), 0.95 * before["head.weight"])


def test_it_learns_and_two_runs_are_equal(train):
    config = replace(CONFIG, epochs=12)
    torch.manual_seed(1)
    one = train(config, method=GradientMethod())
    torch.manual_seed(2)
    generator = torch.get_rng_state()
    two = train(config, method=GradientMethod())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not torch.are_deterministic_algorithms_enabled()
    assert_same(one, two)
    assert max(record["accuracy"] for record in one.history) > 90
    assert one.history[-1]["loss"]["total"] < one.history[0]["loss"]["total"]
    assert set(one.history[0]) == {"epoch", "lr", "loss", "accuracy", "validation"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_resumed_run_equals_an_uninterrupted_one(train, tmp_path, optimizer, killed_after):
    config = replace(CONFIG, optimizer=optimizer)
    whole = train(config, folder=tmp_path / "whole")

    def kill(record):
        if record["epoch"] == killed_after:
            raise Interrupt

    folder = tmp_path / "killed"
    with pytest.raises(Interrupt):
        train(config, folder=folder, identity={"parameters": "a"}, on_epoch=kill)
    seen = []
    resumed = train(config, folder=folder, identity={"parameters": "a"},
                    on_epoch=lambda record: seen.append(record["epoch"]))
    assert seen == list(range(killed_after + 1, 5))
    assert_same(whole, resumed)
    lines = [json.loads(line) for line in history_path(folder).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert all(line["images_per_second"] > 0 for line in lines)


@pytest.mark.parametrize("killed_at", range(12))
def test_a_run_killed_inside_an_epoch_equals_an_uninterrupted_one(train, tmp_path, monkeypatch, killed_at):
    """Killed in one of its 12 steps, after a saved state at each; validation varies so that the best epoch is early."""
    saving = replace(CPU, save_minutes=0.0)

    def run(folder, method):
        accuracies = {1: 50.0, 2: 80.0, 3: 80.0, 4: 70.0}
        monkeypatch.setattr("fakemedia.learning.training_loop.TrainingLoop._validated", lambda loop, epoch: {
            "accuracy": accuracies[epoch], "validation": {"noise": accuracies[epoch]}})
        return train(folder=folder, method=method, identity={"parameters": "a"}, runtime=saving)

    class Killed(Counting):
        steps = 0

        def loss(self, detector, batch, logits):
            if self.steps == killed_at:
                raise Interrupt
            self.steps += 1
            return super().loss(detector, batch, logits)

    whole = run(tmp_path / "whole", Counting())
    with pytest.raises(Interrupt):
        run(tmp_path / "killed", Killed())
    again = Killed()
    again.steps = killed_at + 1
    assert_same(whole, run(tmp_path / "killed", again))
    assert again.steps == 13
    assert whole.best_epoch == 2


def test_a_run_with_augmented_crops_killed_inside_an_epoch_equals_an_uninterrupted_one(train, tmp_path):
    class Killed(GradientMethod):
        steps = 0

        def loss(self, detector, batch, logits):
            self.steps += 1
            if self.steps == 6:
                raise Interrupt
            return super().loss(detector, batch, logits)

    config, saving = replace(CONFIG, augment="blur_jpeg"), replace(CPU, save_minutes=0.0)
    whole = train(config, method=GradientMethod())
    with pytest.raises(Interrupt):
        train(config, method=Killed(), folder=tmp_path / "x", runtime=saving)
    again = Killed()
    again.steps = 6
    assert_same(whole, train(config, method=again, folder=tmp_path / "x", runtime=saving))
    assert again.steps < 6 + 12
    assert whole.history[0]["loss"] != train(method=GradientMethod()).history[0]["loss"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["step", "validation"])
def test_a_stop_saves_the_last_whole_step(train, tmp_path, monkeypatch, number, place):
    class Stopped(Counting):
        steps = 0

        def loss(self, detector, batch, logits):
            self.steps += 1
            if self.steps == 5 and place == "step":
                signal.raise_signal(number)
            return super().loss(detector, batch, logits)

    whole = train()
    before = signal.signal(number, signal.default_int_handler)
    method = Stopped()
    try:
        with monkeypatch.context() as patch:
            if place == "validation":
                patch.setattr("fakemedia.learning.validation.predict_batches",
                              lambda *_, **__: signal.raise_signal(number))
            with pytest.raises(KeyboardInterrupt):
                train(folder=tmp_path / "x", method=method)
    finally:
        signal.signal(number, before)
    state = torch.load(resume_path(tmp_path / "x"), weights_only=True)
    assert (len(state["history"]), state["step"]) == ((1, 2) if place == "step" else (0, 3))
    resumed = Stopped()
    resumed.steps = 5
    assert_same(whole, train(folder=tmp_path / "x", method=resumed))
    assert resumed.steps == 5 + 12 - method.steps


def test_states_that_cost_much_are_saved_seldom(train, tmp_path, monkeypatch):
    saved = []

    def save(files, state, best):
        saved.append(len(state["history"]))
        time.sleep(0.01)

    monkeypatch.setattr("fakemedia.learning.training_loop.ResumeFiles.save", save)
    monkeypatch.setattr("fakemedia.learning.training_loop.QUICK_SAVE_SECONDS", 0.0)
    monkeypatch.setattr("fakemedia.learning.training_loop.MAX_SAVING_SHARE", 1e-6)
    train(folder=tmp_path / "x")
    assert saved == [1]


def test_a_resume_state_of_another_run_is_not_used(train, tmp_path, caplog):
    train(folder=tmp_path / "x", identity={"parameters": "a"})
    seen = []
    train(folder=tmp_path / "x", identity={"parameters": "b"}, on_epoch=lambda record: seen.append(record["epoch"]))
    assert seen == [1, 2, 3, 4]
    assert "starts again" in caplog.text


def test_the_earliest_of_the_best_epochs_is_kept(train, monkeypatch):
    accuracies = iter([50.0, 80.0, 80.0, 70.0])
    monkeypatch.setattr("fakemedia.learning.validation.Validation.accuracies", lambda *_: {"a": next(accuracies)})
    method = Counting()
    kept = train(method=method)
    assert kept.best_epoch == 2
    assert method.improvements == [True, True, False, False]


def test_without_validation_the_last_epoch_is_kept(train):
    method = Counting()
    assert train(method=method, validation={}).best_epoch == 4
    assert method.improvements == [True] * 4


def test_validation_leaves_the_training_as_it_is(train):
    with_it, without = train(), train(validation={})
    assert [record["loss"] for record in with_it.history] == [record["loss"] for record in without.history]


def test_kept_weights_are_those_of_the_best_epoch(train, monkeypatch):
    config = replace(CONFIG, schedule="constant")
    two_epochs = train(replace(config, epochs=2), validation={})
    accuracies = iter([50.0, 80.0, 80.0, 70.0])
    monkeypatch.setattr("fakemedia.learning.validation.Validation.accuracies", lambda *_: {"a": next(accuracies)})
    kept = train(config)
    assert all(torch.equal(tensor, kept.weights[name]) for name, tensor in two_epochs.weights.items())


def test_patience_counts_from_the_best_epoch(train, monkeypatch):
    accuracies = iter([50.0, 60.0, 55.0, 60.0, 99.0])
    monkeypatch.setattr("fakemedia.learning.validation.Validation.accuracies", lambda *_: {"a": next(accuracies)})
    assert len(train(replace(CONFIG, epochs=9, patience=2)).history) == 4


def test_validation_every_and_at_the_end(train):
    history = train(replace(CONFIG, epochs=5, validation_every=2)).history
    assert [record["epoch"] for record in history if "accuracy" in record] == [2, 4, 5]


@pytest.mark.parametrize("images", [264, 384, 1000, 20_000])
def test_validation_of_twelve_tasks_costs_a_bounded_share(images):
    each = [validation_images(CONFIG, images, tasks) or 0 for tasks in range(1, 13)]
    passes = sum(tasks * most for tasks, most in enumerate(each, start=1))
    assert min(each) >= 16
    assert passes <= 0.15 * 12 * PASSES * images


def test_a_loss_that_is_not_finite_stops_the_stage(train, tmp_path):
    class Bad(GradientMethod):
        calls = 0

        def loss(self, detector, batch, logits):
            self.calls += 1
            terms = super().loss(detector, batch, logits)
            if self.calls == 5:
                return {"penalty": terms["total"] * float("inf"), "total": terms["total"]}
            return {"penalty": terms["total"], "total": terms["total"]}

    with pytest.raises(UserError, match=r"penalty inf[\s\S]*stage 01_noise, epoch 2, step 2 of 3, learning rate 0\.0"):
        train(method=Bad(), folder=tmp_path / "x", identity={"parameters": "a"})
    state = torch.load(resume_path(tmp_path / "x"), weights_only=True)
    assert len(state["history"]) == 1


def test_a_huge_learning_rate_is_told(train, tmp_path):
    config = replace(CONFIG, lr=1e30, optimizer="sgd", schedule="constant", epochs=3)
    with pytest.raises(UserError, match=r"learning rate 1e\+30"):
        train(config, method=GradientMethod(), folder=tmp_path / "x")


def test_bfloat16_stays_close_to_float32(train):
    low = train(method=GradientMethod(), validation={}, runtime=Runtime(accelerator="cpu", precision="bfloat16"))
    full = train(method=GradientMethod(), validation={})
    assert low.weights["head.weight"].dtype == torch.float32
    assert low.history[0]["loss"]["total"] == pytest.approx(full.history[0]["loss"]["total"], rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there():
    with pytest.raises(UserError, match="no cuda device"):
        _ = Runtime(accelerator="cuda").device
