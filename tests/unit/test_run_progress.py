"""What the terminal shows of a run: a line for each phase, the time left, the count of what is skipped."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from kedro.pipeline import node

from fakemedia.cli.run_log import FILE, logging_to_file
from fakemedia.core.errors import UserError
from fakemedia.core.types import make_stages
from fakemedia.pipelines.run_progress import MIN_INTERVAL, ParallelProgress, RunProgress, stage_costs
from tests.plans import make_plan

PLAN = make_plan(("finetune", "joint"), sequence="demo", stages=make_stages([("a",), ("b",), ("c",)]), seeds=(0,))


def training_nodes() -> list:
    return [node(lambda: 1, None, name, name=name.partition(".")[2], namespace=name.partition(".")[0],
                 tags=["training"]) for name in stage_costs([PLAN])]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made)
    return made


def test_costs_are_the_tasks_that_each_stage_learns() -> None:
    costs = stage_costs([PLAN])
    assert sum(costs.values()) == 2 * len(PLAN.tasks)
    assert max(costs.values()) == len(PLAN.tasks)  # joint learns all of them at once


def test_time_left_follows_what_was_measured(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = training_nodes()
    progress = RunProgress(nodes, [PLAN])
    first = next(each for each in nodes if "finetune" in each.name)
    progress.before_node_run(first)
    clock.now += MIN_INTERVAL + 2
    progress.after_node_run(first)
    assert progress.seconds_left() == pytest.approx((MIN_INTERVAL + 2) * (2 * len(PLAN.tasks) - 1))
    assert f"Training: 1 of {len(nodes)} stages, about " in capsys.readouterr().out
    for each in nodes:
        if each is not first:
            progress.before_node_run(each)
            progress.after_node_run(each)
    assert capsys.readouterr().out == f"Training: {len(nodes)} stages, 0:00:12\n"
    assert progress.seconds_left() == 0


def test_kedro_speaks_to_the_file_alone(tmp_path: Path) -> None:
    with logging_to_file(tmp_path) as path:
        logging.getLogger("kedro.runner").warning("node done")
    logging.getLogger("kedro.runner").warning("afterwards")
    assert path == tmp_path / FILE
    assert "node done" in path.read_text()
    assert "afterwards" not in path.read_text()


def test_log_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match="logs"), logging_to_file(tmp_path):
        pass


def test_nodes_at_once_are_told_by_run_and_by_the_clock(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    finetune, joint = ([each for each in training_nodes() if label in each.name]
                       for label in ("finetune", "joint"))
    progress = ParallelProgress([*finetune, *joint], [PLAN])
    for each in (*finetune, *joint):
        progress.before_node_run(each)
    clock.now += 12
    for each in finetune:
        progress.after_node_run(each)
    assert progress.seconds_left() == pytest.approx(12)  # as many tasks are left as were learned
    assert "Run demo/finetune seed 0: done; 1 of 2 runs, about 0:00:12 left\n" in capsys.readouterr().out
    clock.now += 6
    for each in joint:
        progress.after_node_run(each)
    assert capsys.readouterr().out == f"Training: {len(stage_costs([PLAN]))} stages, 0:00:18\n" \
        "Run demo/joint seed 0: done; 2 of 2 runs\n"
