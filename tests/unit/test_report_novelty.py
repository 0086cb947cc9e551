"""What novelty notices, as the report tells it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fakemedia.reporting.figures.novelty_curves import novelty_figure
from fakemedia.reporting.gallery import draw_section
from fakemedia.reporting.grids import novelty_grid, novelty_sentence
from fakemedia.reporting.novelty_table import COLUMNS, novelty_table
from fakemedia.reporting.report_page import report_page
from fakemedia.reporting.results import gather
from fakemedia.reporting.sections import NOVELTY
from fakemedia.reporting.tables import Tables, make_tables

from ..scores import make_scores

METHODS = ("kd", "joint")
PLAIN, STAGES = make_scores([("gan",), ("warp",)], methods=METHODS, seeds=(0, 1), images=80)
SCORES = PLAIN.assign(novelty=np.random.default_rng(0).uniform(0.5, 1.0, len(PLAIN))
                      + 0.3 * ((PLAIN["task"] == "warp") & (PLAIN["label"] == 1)))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return novelty_table(SCORES, stages=STAGES)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return make_tables(gather(PLAIN, sequence="tiny", network="convnet", stages=STAGES, methods=METHODS), draws=10)


def test_new_fakes_against_all_images_of_the_tasks_learned(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    (row,) = table.loc[(table["method"] == "kd") & (table["seed"] == 1) & (table["stage"] == 1)].to_dict("records")
    run = SCORES.loc[(SCORES["method"] == "kd") & (SCORES["seed"] == 1) & (SCORES["stage"] == 1)]
    compared = run.loc[(run["task"] == "gan") | (run["label"] == 1)]
    assert row["auc"] == pytest.approx(roc_auc_score(compared["task"] == "warp", compared["novelty"]))
    new = run.loc[run["task"] == "warp"]
    assert row["new_fake"] == pytest.approx(100 * (new.loc[new["label"] == 1, "novelty"] > 1).mean())
    assert (row["known"], row["new_real"], row["images"]) == (0.0, 0.0, 80)


def test_undefined_where_every_task_is_learned_or_novelty_is_missing(table: pd.DataFrame, tables: Tables) -> None:
    last = table.loc[table["stage"] == 2]
    assert last[["auc", "new_fake", "new_real"]].isna().to_numpy().all()
    assert last["known"].notna().to_numpy().all()
    for none in (novelty_table(PLAIN, stages=STAGES), last):
        assert draw_section(NOVELTY, tables, none) == []
        assert novelty_sentence(none) == ""
        assert 'id="novelty"' not in report_page(tables, {}, costs=pd.DataFrame(), novelty=none, configuration={},
                                                 versions={})


def test_panels_keep_their_width_where_a_method_has_no_value(table: pd.DataFrame) -> None:
    figure = novelty_figure(table.loc[(table["method"] == "kd") | (table["stage"] == 2)], STAGES, METHODS)
    figure.draw_without_rendering()
    assert min(axes.get_position().width for axes in figure.axes) > 0.2


def test_table_sentence_and_figure_of_the_page(table: pd.DataFrame, tables: Tables) -> None:
    grid = novelty_grid(table, tables)
    before = table.loc[(table["method"] == "kd") & (table["stage"] == 1)]
    assert grid.mean[0, 0] == pytest.approx(before["auc"].mean())
    assert (grid.low[0, 2], grid.high[0, 2]) == (before["new_fake"].min(), before["new_fake"].max())
    assert "0.0 % are called unknown" in novelty_sentence(table)
    assert "notices many" in novelty_sentence(table)
    assert "no protection" in novelty_sentence(table.assign(auc=0.6))
    (figure,) = draw_section(NOVELTY, tables, table)
    assert figure.name == "novelty"
    page = report_page(tables, {"novelty": [figure]}, costs=pd.DataFrame(), novelty=table, configuration={},
                       versions={})
    assert "What novelty notices of tasks still to come" in page
    assert "follows content rather than the generator" in page
