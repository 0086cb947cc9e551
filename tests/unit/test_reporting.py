"""From scores to tables, figures and the page, on made-up scores."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.core.types import make_stages
from fakemedia.evaluation import continual, metrics
from fakemedia.reporting.figures import curve_figure, draw_figures, matrix_figure, task_figure
from fakemedia.reporting.formats import escape_latex, headline_text, latex_table, markdown_table, number
from fakemedia.reporting.page import report_page
from fakemedia.reporting.results import Results, gather
from fakemedia.reporting.style import looks, render
from fakemedia.reporting.tables import RUN_METRICS, Tables, make_tables

from ..scores import make_scores

GROUPS = [("gan-a",), ("warp_b",), ("sr_c", "sr_d")]
SCORES, STAGES = make_scores(GROUPS, images=60, photographs=12)


def gathered(scores: pd.DataFrame = SCORES) -> Results:
    return gather(scores, sequence="demo", network="convnet", stages=STAGES)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return make_tables(gathered(), draws=200)


@pytest.fixture(scope="module")
def files(tables: Tables) -> dict[str, bytes]:
    figures = draw_figures(tables)
    page = report_page(tables, figures, configuration={"note": "<b>&"}, versions={"fakemedia": "0"},
                       commands=["make run"])
    drawn = {f"figures/{name}.{kind}": render(figure, kind) for name, figure in figures.items()
             for kind in ("png", "pdf")}
    return {**drawn, "report.html": page.encode()}


def value(table: pd.DataFrame, column: str = "mean", **keys: object) -> float:
    for key, wanted in keys.items():
        table = table[table[key] == wanted]
    assert len(table) == 1
    return float(table[column].iloc[0])


def test_matrix_cells_are_the_accuracies_of_the_scores(tables: Tables) -> None:
    rows = SCORES[(SCORES.method == "kd") & (SCORES.stage == 2) & (SCORES.task == "gan-a")]
    accuracies = [metrics.accuracy(one.label.to_numpy(), one.logit.to_numpy()) for _, one in rows.groupby("seed")]
    aucs = [metrics.auc(one.label.to_numpy(), one.logit.to_numpy()) for _, one in rows.groupby("seed")]
    cell = {"method": "kd", "stage": 2, "task": "gan-a"}
    assert value(tables.matrices, measure="accuracy", **cell) == pytest.approx(np.mean(accuracies))
    assert value(tables.matrices, measure="auc", **cell) == pytest.approx(np.mean(aucs))


def test_a_run_is_the_summary_of_its_matrix(tables: Tables) -> None:
    rows = SCORES[(SCORES.method == "ewc") & (SCORES.seed == 1)].assign(right=lambda s: (s.logit > 0) == (s.label == 1))
    matrix = 100 * rows.pivot_table(index="stage", columns="task", values="right")[list(STAGES[-1].seen)].to_numpy()
    expected = continual.summary(matrix, matrix, continual.learned_at(STAGES))
    run = tables.runs.set_index(["method", "seed"]).loc[("ewc", 1)]
    for name in ("aa", "forgetting", "bwt", "fwt"):
        assert run[name] == pytest.approx(expected[name])
    assert list(tables.runs) == ["sequence", "network", "method", "seed", *RUN_METRICS]


def test_the_summary_is_the_mean_over_the_runs_within_its_interval(tables: Tables) -> None:
    means = tables.runs.groupby("method")[list(RUN_METRICS)].mean()
    for row in tables.summary[tables.summary.metric.isin(RUN_METRICS)].itertuples():
        assert row.mean == pytest.approx(means.loc[row.method, row.metric], nan_ok=True)
        if not np.isnan(row.mean):
            assert row.low <= row.mean <= row.high


def test_differences_are_paired(tables: Tables) -> None:
    key = {"method": "ewc", "metric": "aa"}
    paired = value(tables.differences, "high", **key) - value(tables.differences, "low", **key)
    alone = [value(tables.summary, "high", method=method, metric="aa")
             - value(tables.summary, "low", method=method, metric="aa") for method in ("ewc", "finetune")]
    assert value(tables.differences, "low", **key) > 0
    assert paired < sum(alone)


def test_equal_methods_differ_by_exactly_nothing() -> None:
    twin = pd.concat([SCORES[SCORES.method == "kd"], SCORES[SCORES.method == "kd"].assign(method="copy")])
    differences = make_tables(gathered(twin), draws=50).differences
    assert (differences[["mean", "low", "high"]] == 0).all(axis=None)


def test_tables_do_not_depend_on_the_order_of_the_rows(tables: Tables) -> None:
    mixed = make_tables(gathered(SCORES.sample(frac=1, random_state=0)), draws=2).runs
    keys = ["method", "seed"]
    pd.testing.assert_frame_equal(mixed.sort_values(keys, ignore_index=True),
                                  tables.runs.sort_values(keys, ignore_index=True))


def test_the_same_seed_gives_the_same_intervals(tables: Tables) -> None:
    pd.testing.assert_frame_equal(make_tables(gathered(), draws=200).summary, tables.summary)


def test_joint_has_an_average_accuracy_and_no_forgetting(tables: Tables) -> None:
    assert value(tables.summary, method="joint", metric="aa") > 85
    assert np.isnan(value(tables.summary, method="joint", metric="forgetting"))
    assert not tables.missing


def test_missing_scores_are_named_and_the_rest_is_reported() -> None:
    kept = SCORES[~((SCORES.method == "kd") & (SCORES.seed == 1) & (SCORES.stage == 2))]
    kept = kept[~((kept.method == "ewc") & (kept.seed == 2)) & (kept.task != "sr_d")]
    tables = make_tables(gathered(kept), draws=20)
    assert tables.missing == ("sr_d: no scores", "kd, seed 1: no scores after stage 02_warp_b",
                              "ewc, seed 2: no scores")
    assert value(tables.tasks, method="ewc", task="warp_b", measure="final_accuracy") > 50


def test_a_split_of_one_class_leaves_its_auc_undefined() -> None:
    tables = make_tables(gathered(SCORES[(SCORES.task != "gan-a") | (SCORES.label == 0)]), draws=20)
    assert np.isnan(value(tables.matrices, method="kd", stage=1, task="gan-a", measure="auc"))
    assert value(tables.matrices, method="kd", stage=1, task="gan-a", measure="accuracy") > 50


@pytest.mark.parametrize(("broken", "message"), [
    (SCORES.drop(columns="logit"), "lack the column 'logit'"),
    (SCORES.iloc[:0], "no scores"),
    (SCORES.assign(task="gan-z"), "did you mean 'gan-a'"),
    (SCORES.assign(stage=4), "stage 4 is not"),
    (SCORES.assign(logit=np.nan), "not finite"),
    (SCORES.iloc[1:], "same images"),
    (pd.concat([SCORES, SCORES]).assign(label=lambda s: np.r_[s.label[:1] ^ 1, s.label[1:]]), "same images"),
])
def test_bad_scores_end_in_one_message(broken: pd.DataFrame, message: str) -> None:
    with pytest.raises(UserError, match=message):
        gathered(broken)


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'finetune'"):
        make_tables(gathered(), baseline="finetuned", draws=2)


def test_latex_has_a_cell_for_every_column_and_ranks_without_the_upper_bound(tables: Tables) -> None:
    text = latex_table(tables)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {6}
    assert text.count("{") == text.count("}")
    ewc, joint = (next(line for line in rows if line.startswith(name)) for name in ("ewc", "joint"))
    assert r"\textbf{" in ewc.split("&")[1]
    assert "textbf" not in joint
    assert joint.count("--") == 5


def test_markup_in_names_is_harmless() -> None:
    assert escape_latex("my_method 50%") == r"my\_method 50\%"
    stages = make_stages([("a",), ("b_1",)])
    scores, _ = make_scores([("a",), ("b_1",)], methods=("x_<i>&", "y|z"), seeds=(0,), images=20, photographs=5)
    tables = make_tables(gather(scores, sequence="s_1", network="n", stages=stages), draws=10)
    assert r"x\_<i>\&" in latex_table(tables)
    assert r"y\|z" in markdown_table(tables)
    page = report_page(tables, {}, configuration={}, versions={}, commands=[])
    assert "<i>" not in page
    assert "x_&lt;i&gt;&amp;" in page


def test_numbers_are_written_plainly() -> None:
    assert [number(v, 1) for v in (-0.04, 12.345, np.nan)] == ["0.0", "12.3", "\N{EN DASH}"]


def test_the_headline_names_each_method_and_three_numbers(tables: Tables) -> None:
    lines = headline_text(tables).splitlines()
    assert [line.split()[0] for line in lines] == ["method", *tables.methods]
    assert re.search(r"finetune +\d+\.\d \[.*\] +\d+\.\d \[.*\] +0\.\d{3} \[.*\]", lines[1])


def test_figures_show_the_numbers_of_the_tables(tables: Tables) -> None:
    axes = curve_figure(tables.curves, STAGES).axes[0]
    drawn = next(line for line in axes.lines if line.get_label() == "kd")
    expected = tables.curves[(tables.curves.method == "kd") & (tables.curves.measure == "accuracy")]
    np.testing.assert_allclose(drawn.get_ydata(), expected["mean"])
    heat = matrix_figure(tables.matrices, "joint").axes[0].images[0].get_array()
    assert heat is not None
    assert heat.shape == (1, 4)
    labels = [tick.get_text() for tick in task_figure(tables.tasks, "forgetting").axes[0].get_xticklabels()]
    assert labels == ["gan-a", "warp_b"]


def test_an_undefined_measure_still_draws() -> None:
    tables = make_tables(gathered(SCORES[SCORES.method == "joint"]), draws=10)
    assert "undefined" in task_figure(tables.tasks, "forgetting").axes[0].texts[0].get_text()


def test_methods_differ_by_more_than_colour() -> None:
    drawn = looks([f"m{i}" for i in range(12)]).values()
    assert len({(look.marker, str(look.dashes)) for look in drawn}) == 12


def test_a_figure_renders_to_the_same_bytes_with_embedded_fonts(tables: Tables) -> None:
    figures = [matrix_figure(tables.matrices, "kd") for _ in range(2)]
    for kind in ("png", "pdf", "svg"):
        assert render(figures[0], kind) == render(figures[1], kind)
    assert b"/FontFile2" in render(figures[0], "pdf")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(files: dict[str, bytes]) -> None:
    page = _Page()
    page.feed(files["report.html"].decode())
    assert not page.open
    assert page.links
    assert all(link.startswith(("data:image/svg+xml;base64,", "#")) for link in page.links)
    assert b"&lt;b&gt;&amp;" in files["report.html"]
