"""Example pictures of the report: the right ones, spread over tasks and sources, or a word on why there are none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.core.types import make_stages
from fakemedia.reporting.examples import MAX_EXAMPLES, find_examples
from fakemedia.reporting.gallery import draw_section
from fakemedia.reporting.report_page import report_page
from fakemedia.reporting.results import gather
from fakemedia.reporting.sections import EXAMPLES
from fakemedia.reporting.tables import Tables, make_tables
from fakemedia.store.pixels import PixelStore

from .conftest import noise

STAGES = make_stages([("a",), ("b",)])
Given = tuple[pd.DataFrame, Tables, dict[str, Path]]


@pytest.fixture(scope="module")
def given(make_store: Callable[..., PixelStore]) -> Given:
    """Return scores of three methods on two tasks, their tables, and the folders of the pictures."""
    stores = {task: make_store(task, noise(24, 40, 60.0, seed)) for seed, task in enumerate("ab")}
    rng = np.random.default_rng(0)
    parts = []
    for method, strength in (("finetune", 0.3), ("kd", 1.0), ("joint", 3.0)):
        for stage in STAGES:
            for task, store in stores.items():
                parts.append(pd.DataFrame({
                    "method": method, "seed": 0, "stage": stage.index, "task": task, "id": store.ids,
                    "label": store.labels.astype(np.int8), "source": [f"s{i // 2 % 4}" for i in range(len(store))],
                    "logit": strength * (2 * store.labels - 1) + rng.normal(size=len(store))}))
    scores = pd.concat(parts, ignore_index=True)
    tables = make_tables(gather(scores, sequence="s", network="n", stages=STAGES), draws=10, upper="joint",
                         baseline="finetune")
    return scores, tables, {task: store.folder for task, store in stores.items()}


def test_errors_of_the_best_method_and_the_baseline_are_shown(given: Given) -> None:
    scores, tables, stores = given
    found = find_examples(scores, tables, stores)
    assert list(found.worst) == ["kd", "finetune"]
    assert found.missing == []
    last = scores[(scores["stage"] == 2) & (scores["method"] == "finetune")]
    for label, sign in ((0, 1), (1, -1)):
        shown = [example for example in found.worst["finetune"] if example.label == label]
        wrong = sign * last.loc[last["label"] == label, "logit"]
        assert len(shown) == min(MAX_EXAMPLES, int((wrong > 0).sum()))
        assert abs(shown[0].probability - 0.5) == pytest.approx(1 / (1 + np.exp(-wrong.max())) - 0.5)
        assert all((example.probability > 0.5) == (label == 0) for example in shown)


def test_a_score_has_the_picture_that_it_is_of(given: Given) -> None:
    scores, tables, stores = given
    store = PixelStore.open(stores["b"])
    last = scores[(scores["stage"] == 2) & (scores["method"] == "kd") & (scores["task"] == "b")]
    by_score = {round(1 / (1 + np.exp(-logit)), 9): store.ids.index(id)
                for logit, id in zip(last["logit"], last["id"], strict=True)}
    shown = [example for example in find_examples(scores, tables, stores).worst["kd"] if example.task == "b"]
    assert shown
    for example in shown:
        assert np.array_equal(example.picture, store[by_score[round(example.probability, 9)]])


def test_a_photograph_that_fools_the_detector_often_is_not_shown_alone(given: Given) -> None:
    scores, tables, stores = given
    fooled = scores["source"].eq("s0") & scores["task"].eq("a") & scores["label"].eq(0)
    fooled |= scores["source"].eq("s1") & scores["task"].eq("b") & scores["label"].eq(0)
    logit = np.where(scores["label"] == 0, np.where(fooled, 1.0, -1.0), 1.0) + np.arange(len(scores)) * 1e-4
    logit[scores["task"].eq("a") & fooled] += 5
    found = find_examples(scores.assign(logit=logit), tables, stores)
    assert [example.task for example in found.worst["kd"]][:2] == ["a", "b"]


def test_pairs_are_of_one_source(given: Given) -> None:
    scores, tables, stores = given
    found = find_examples(scores, tables, stores)
    assert {task: [example.label for example in pair] for task, pair in found.pairs.items()} == {
        "a": [0, 1], "b": [0, 1]}
    alone = scores[(scores["task"] == "a") | (scores["label"] == 1)]
    assert [example.label for example in find_examples(alone, tables, stores).pairs["b"]] == [1]


def test_pictures_that_are_not_there_are_named(given: Given, tmp_path: Path) -> None:
    scores, tables, stores = given
    some = find_examples(scores, tables, {**stores, "a": tmp_path / "nothing"})
    assert some.missing == ["a"]
    assert {example.task for shown in (*some.pairs.values(), *some.worst.values()) for example in shown} == {"b"}
    none = find_examples(scores, tables, dict.fromkeys(stores, tmp_path))
    assert draw_section(EXAMPLES, tables, none) == []
    page = report_page(tables, {}, costs=pd.DataFrame(), configuration={}, versions={}, no_pictures=none.missing)
    assert "No pictures of a, b" in page


def test_the_page_holds_small_jpegs(given: Given) -> None:
    scores, tables, stores = given
    drawn = draw_section(EXAMPLES, tables, find_examples(scores, tables, stores))
    assert [each.name for each in drawn] == ["pairs", "errors_finetune", "errors_kd"]
    assert sum(len(each.files["jpg"]) for each in drawn) * 4 / 3 < 300_000
    with Image.open(io.BytesIO(drawn[1].files["jpg"])) as picture:
        assert picture.size == (936, round(936 / picture.width * picture.height))
    page = report_page(tables, {"examples": drawn}, costs=pd.DataFrame(), configuration={}, versions={})
    assert page.count("data:image/jpeg;base64,") == 3
