"""What `kedro plan` computes of every method: the room that a stage takes, and the rate of a few steps."""

from __future__ import annotations

import pytest

from fakemedia.core import plugin
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.cost import stage_bytes, timed_rate
from fakemedia.methods.method import GradientMethod, facts
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")


@pytest.mark.parametrize("method", plugin.names("methods"))
def test_room_and_rate_of_every_method(method: str, noise_store) -> None:
    settings = {"pictures": 10} if facts(method).needs_memory else {}
    planned = make_plan({method: settings}, stages=make_stages([("a",)]),
                        network=Plugin(name="convnet", settings={"width": 8, "depth": 2}),
                        training=TrainingConfig(batch_size=8, crop=8)).resolved().methods[0]
    found = stage_bytes(planned).checkpoint
    assert found > (10 * 3 * 8 * 8 if settings else 0)
    rates = [timed_rate(planned, noise_store(), CPU, first=first) for first in (True, False)]
    trained = isinstance(plugin.create("methods", method, settings, 0), GradientMethod)
    assert all((rate is not None and rate > 0) == trained for rate in rates)


def test_room_of_statistics_is_that_of_half_a_matrix() -> None:
    stages, network = make_stages([("a",)]), Plugin(name="convnet", settings={"width": 8, "depth": 2})
    training = TrainingConfig(batch_size=8, crop=8)
    plain, projected = (stage_bytes(make_plan({"ridge": settings}, stages=stages, network=network,
                                              training=training).resolved().methods[0]).checkpoint
                        for settings in ({}, {"projection": 300}))
    assert projected - plain > 8 * 300 * 301 / 2
