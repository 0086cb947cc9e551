"""Tables as they are printed, and the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.types import make_stages
from fakemedia.reporting.examples import Examples
from fakemedia.reporting.formats import Column, Grid, escape_latex, interval, number, to_latex, to_markdown, to_table
from fakemedia.reporting.gallery import draw_section
from fakemedia.reporting.grids import (
    accuracy_grid,
    best_note,
    cost_grid,
    detection_grids,
    differences_grid,
    headline_text,
    matrix_grids,
    method_note,
    printed,
    robustness_grid,
    shown_metrics,
    summary_grid,
    zero_shot_grids,
)
from fakemedia.reporting.history import cost_table
from fakemedia.reporting.novelty_table import novelty_table
from fakemedia.reporting.profiles import make_profiles
from fakemedia.reporting.provenance import provenance
from fakemedia.reporting.report_page import report_page
from fakemedia.reporting.results import Results, gather
from fakemedia.reporting.robustness_table import robustness_table
from fakemedia.reporting.sections import SECTIONS
from fakemedia.reporting.tables import Tables, make_tables

from ..figures import stub_figures
from ..scores import make_histories, make_robustness, make_scores

SCORES, STAGES = make_scores([("gan-a",), ("warp_b",), ("sr_c", "sr_d")], images=60, photographs=12)
METHODS = ("finetune", "kd", "ewc", "joint")
HISTORIES = make_histories(STAGES, METHODS, seeds=(0, 1, 2))
AUDIT = {"verdict": "warn", "images": 480, "left_out": 2, "tasks": {task: {
    "verdict": "warn", "images": 120, "left_out": 2 if task == "gan-a" else 0, "findings": {"near_duplicate": 2},
    "splits": {split: {name: {"images": 20, "left_out": 1} for name in ("real", "fake")}
               for split in ("train", "val", "test")}} for task in STAGES[-1].seen}}

CALIBRATION = pd.DataFrame([{
    "method": "kd", "seed": 0, "stage": 3, "task": task, "temperature": 2.0, "threshold": 0.6, "accuracy": 80.0,
    "accuracy_calibrated": calibrated, "coverage": 90.0, "accuracy_sure": 85.0, "ece": 0.1, "ece_calibrated": 0.05}
    for task, calibrated in (("gan-a", 82.0), ("warp_b", 77.0))])


@pytest.fixture(scope="module")
def results() -> Results:
    return gather(SCORES, sequence="demo", network="convnet", stages=STAGES)


@pytest.fixture(scope="module")
def tables(results: Results) -> Tables:
    return make_tables(results, draws=100)


@pytest.fixture(scope="module")
def robustness() -> pd.DataFrame:
    return robustness_table(make_robustness(SCORES, STAGES), sequence="demo", network="convnet", tasks=STAGES[-1].seen,
                            draws=50)


@pytest.fixture(scope="module")
def grids(tables: Tables, robustness: pd.DataFrame) -> list[Grid]:
    return [summary_grid(tables), accuracy_grid(tables), differences_grid(tables), *detection_grids(tables),
            *matrix_grids(tables), *zero_shot_grids(tables), robustness_grid(robustness, tables),
            cost_grid(cost_table(HISTORIES), tables)]


@pytest.fixture(scope="module")
def page(results: Results, tables: Tables, robustness: pd.DataFrame) -> str:
    material = {"tables": tables, "profiles": make_profiles(results, draws=20), "histories": HISTORIES,
                "robustness": robustness, "examples": Examples(pairs={}, worst={}, missing=[]),
                "novelty": novelty_table(SCORES, stages=STAGES)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        stub_figures(monkeypatch)
        drawn = {section.key: draw_section(section, *(material[name] for name in section.needs))
                 for section in SECTIONS}
    drawn["similarity"] = [replace(drawn["stages"][0], name="fingerprint")]
    last = drawn[SECTIONS[-1].key]
    last[-1] = replace(last[-1], files={kind: data for kind, data in last[-1].files.items() if kind != "svg"})
    return report_page(tables, drawn, costs=cost_table(HISTORIES), robustness=robustness, audit=AUDIT,
                       calibration=CALIBRATION, provenance=provenance(HISTORIES, (0, 1, 2)),
                       weights={("kd", 0): "0123456789abcdef"}, notices=["kd, seed 1: no <history>"],
                       sources=[("everything", "data/08_reporting/demo", "kedro run")],
                       configuration={"note": "<b>&"}, versions={"fakemedia": "0"})


def test_paths_and_commands_can_be_copied_as_they_are_typed(page: str) -> None:
    text = re.sub("<[^>]+>", "", page)
    assert "data/08_reporting/demo" in text
    assert "kedro run" in text
    assert "<span>kedro</span> <span>run</span>" in page  # broken between words, not at hyphens


def test_every_method_that_was_scored_has_its_matrix(page: str) -> None:
    assert re.findall(r"<figcaption>Accuracy matrix of (\w+)", page) == list(METHODS)


def test_captions_and_texts_have_their_values(page: str) -> None:
    assert "{method}" not in page
    assert "None" not in re.sub("<[^>]+>", "", page)


def test_the_page_says_what_calibration_made_worse_and_where_results_come_from(page: str) -> None:
    assert "worse than 0.5 here:</b> kd on warp_b (-3.0 points)." in page
    assert "Training time" in page
    assert '<a href="audit/audit.html">' in page
    assert "sr_c + sr_d" in page[page.index("Stages of several tasks"):]


def rows_of(latex: str) -> list[str]:
    return [line for line in latex.splitlines() if re.search(r"\\\\(\[\w+\])?$", line)]


def test_latex_has_a_cell_for_every_column(grids: list[Grid]) -> None:
    for grid in grids:
        text = to_latex(grid, grid.name)
        assert {line.count("&") for line in rows_of(text)} == {len(grid.header) + len(grid.columns) - 1}
        body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert body.count("{") == body.count("}")
        assert text.count(r"\begin") == text.count(r"\end") == 2
        assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_compiles_on_two_columns_without_running_over(grids: list[Grid], tmp_path: Path) -> None:
    wide = Grid(name="wide", title="Twelve_tasks & 100 %", where="Here.", note="Note.", header=("After stage",),
                keys=(("01_gaugan",), ("02_faceforensics",)), columns=(Column(short="which_face"),) * 12,
                mean=np.full((2, 12), 100.0), low=np.full((2, 12), 97.5), high=np.full((2, 12), 100.0))
    body = "\n".join(to_latex(grid, grid.name) for grid in [*grids, wide])
    (tmp_path / "paper.tex").write_text(
        r"\documentclass[10pt,twocolumn]{article}\usepackage[letterpaper,margin=0.75in]{geometry}"
        rf"\usepackage{{booktabs,graphicx}}\begin{{document}}{body}\end{{document}}", encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=tmp_path,
                          capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_the_best_and_what_cannot_be_told_from_it_are_bold_and_the_upper_bound_is_not(results: Results) -> None:
    tables = make_tables(results, upper="joint", draws=100)
    table = tables.summary[tables.summary.metric == "aa"].set_index("method")
    assert table["best"].drop("kd").to_dict() == {"finetune": False, "ewc": True, "joint": False}
    rows = {line.split(" ")[0]: line for line in rows_of(to_latex(summary_grid(tables), "x"))}
    assert r"\textbf{" in rows["ewc"].split("&")[1]
    assert r"\textbf{" not in rows["finetune"].split("&")[1]
    assert "textbf" not in rows["joint"]
    assert "Holm" in summary_grid(tables).note
    both = make_tables(results, upper="joint", unranked=["ewc"], draws=100)
    assert both.unranked == ("ewc", "joint")
    assert not both.summary.loc[both.summary["method"] == "ewc", "best"].any()
    assert "not ranked, since an upper bound: ewc, joint" in summary_grid(both).note
    near = SCORES[SCORES.method == "ewc"].assign(method="near", logit=lambda scores: scores.logit + 0.01)
    equal = make_tables(gather(pd.concat([SCORES, near]), sequence="s", network="n", stages=STAGES), draws=50).summary
    assert set(equal[(equal.metric == "forgetting") & equal.best]["method"]) >= {"ewc", "near"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_mark_nothing(seeds: int) -> None:
    few = make_tables(gather(SCORES[SCORES.seed < seeds], sequence="s", network="n", stages=STAGES), draws=50)
    assert not few.summary["best"].any()
    assert not few.tasks["best"].any()
    assert few.differences["p"].isna().all()
    for grid in (summary_grid(few), differences_grid(few), accuracy_grid(few)):
        assert "**" not in to_markdown(grid).partition("\n\n")[2]
    assert "fewer than 3 seeds" in best_note(few)


def test_an_interval_without_width_says_no_variation() -> None:
    assert interval(50.0, 50.0, 1) == "no variation"
    assert interval(49.99, 50.01, 1) == "[50.0, 50.0]"
    assert interval(np.nan, np.nan, 1) == ""


def test_brackets_say_what_they_cover(tables: Tables) -> None:
    assert "other photographs and training runs" in method_note(tables)
    one = make_tables(gather(SCORES[SCORES.seed < 1], sequence="s", network="n", stages=STAGES), draws=10)
    assert "how far training runs differ is not known" in method_note(one)


def test_tasks_are_columns_with_mean_and_pooled(tables: Tables) -> None:
    grid = accuracy_grid(tables)
    assert [column.short for column in grid.columns] == [*STAGES[-1].seen, "Mean", "Pooled"]
    assert grid.mean[1, -2] == pytest.approx(grid.mean[1, :-2].mean())
    assert grid.mean[1, -1] == pytest.approx(grid.mean[1, -2])  # equally many images of each task
    (fewer,) = [make_tables(gather(SCORES[(SCORES.task != "gan-a") | SCORES.id.str.endswith("0")], sequence="s",
                                   network="n", stages=STAGES), draws=10)]
    last = SCORES[(SCORES.task != "gan-a") | SCORES.id.str.endswith("0")].query("method == 'kd' and stage == 3")
    right = 100 * ((last["logit"] > 0) == (last["label"] == 1)).mean()
    assert accuracy_grid(fewer).mean[1, -1] == pytest.approx(right)
    assert [grid.name for grid in detection_grids(tables)] == ["detection-auc", "detection-tpr-1", "detection-tpr-5"]


def test_bwt_is_left_out_where_it_is_the_negative_of_forgetting(tables: Tables) -> None:
    means = tables.summary.pivot(index="method", columns="metric", values="mean")
    assert ("bwt" in shown_metrics(tables)) == (not np.allclose(means["bwt"], -means["forgetting"], atol=0.5,
                                                                equal_nan=True))
    mirrored = tables.summary.copy()
    of = {name: mirrored["metric"] == name for name in ("bwt", "forgetting")}
    mirrored.loc[of["bwt"], "mean"] = -mirrored.loc[of["forgetting"], "mean"].to_numpy()
    assert "bwt" not in shown_metrics(replace(tables, summary=mirrored))
    assert {"forgetting", "learning_accuracy"} <= set(shown_metrics(tables))


def test_what_is_trained_is_shown_where_methods_differ_in_it(results: Results) -> None:
    trained = {method: ("resnet18", "head" if method == "kd" else "all") for method in METHODS}
    tables = make_tables(results, trained=trained, draws=10)
    assert summary_grid(tables).header == ("Method", "Network", "Tuned")
    assert summary_grid(tables).keys[1] == ("kd", "resnet18", "head")
    assert "| kd | resnet18 | head |" in to_markdown(accuracy_grid(tables))
    assert set(tables.runs["network"]) == {"resnet18"}


def test_every_number_is_in_all_three_formats(tables: Tables, grids: list[Grid]) -> None:
    made = printed(tables.summary, [grids[0]], "demo")
    value = f"{grids[0].mean[1, 0]:.1f}"
    assert value in made.latex
    assert value in made.markdown
    assert to_table(grids[0]).rows[1][1].text == value
    assert "tab:demo-summary" in made.latex
    assert len(made.markdown.splitlines()[2].split(" | ")) == 1 + len(shown_metrics(tables))


def test_costs_are_sums_and_shares_of_the_histories(tables: Tables) -> None:
    costs = cost_table(HISTORIES).set_index(["method", "metric"])["mean"]
    assert costs[("kd", "seconds")] == pytest.approx(HISTORIES[(HISTORIES.method == "kd")]["seconds"].sum() / 3)
    assert costs[("kd", "images_per_second")] == pytest.approx(100)
    assert costs[("kd", "stored_bytes")] == 3 * (2_000_000 + 1_000)
    assert costs[("joint", "stored_bytes")] == 2_000_000 + 1_000
    assert costs[("kd", "state_bytes")] == 1_000
    partly = HISTORIES.copy()
    partly.loc[(partly.method == "kd") & (partly.stage == 2), ["epoch", "seconds"]] = np.nan
    costs = cost_table(partly).set_index(["method", "metric"])["mean"]
    assert np.isnan(costs[("kd", "seconds")])
    assert costs[("kd", "stored_bytes")] == 3 * (2_000_000 + 1_000)


def test_markup_in_names_is_harmless() -> None:
    assert escape_latex("my_method 50%") == r"my\_method 50\%"
    stages = make_stages([("a",), ("b_1",)])
    scores, _ = make_scores([("a",), ("b_1",)], methods=("x_<i>&", "y|z"), seeds=(0,), images=20, photographs=5)
    tables = make_tables(gather(scores, sequence="s_1", network="n", stages=stages), draws=10)
    assert r"x\_\textless{}i\textgreater{}\&" in to_latex(summary_grid(tables), "s")
    assert r"y\|z" in to_markdown(summary_grid(tables))
    page = report_page(tables, {}, costs=pd.DataFrame(), configuration={}, versions={})
    assert "<i>" not in page
    assert "x_&lt;i&gt;&amp;" in page


def test_numbers_are_written_plainly() -> None:
    assert [number(v, 1) for v in (-0.04, 12.345, np.nan)] == ["0.0", "12.3", "\N{EN DASH}"]


def test_the_headline_names_each_method_and_three_numbers(tables: Tables) -> None:
    lines = headline_text(tables).splitlines()
    assert [line.split()[0] for line in lines] == ["method", *tables.methods]
    assert re.search(r"finetune +\d+\.\d \[.*\] +\d+\.\d \[.*\] +0\.\d{3} \[.*\]", lines[1])


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.names += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    parsed = _Page()
    parsed.feed(page)
    assert not parsed.open
    assert len(parsed.names) == len(set(parsed.names))
    inner = [link[1:] for link in parsed.links if link.startswith("#")]
    assert set(inner) <= set(parsed.names)
    assert len(inner) == page.count("<section")
    outer = [link for link in parsed.links if not link.startswith(("#", "data:"))]
    assert set(outer) == {"audit/audit.html", "tables/", "figures/", "similarity/", "calibration.csv"}
    pictures = {re.split("[;,]", link)[0] for link in parsed.links if link.startswith("data:")}
    assert pictures == {"data:image/svg+xml", "data:image/png"}  # the latter of the figure without an SVG file


def test_the_page_shows_the_data_the_notices_and_the_configuration(page: str) -> None:
    assert "There are warnings." in page
    assert "480 images; 2 are left out" in page
    assert "19 + 19" in page
    assert "no &lt;history&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "0123456789ab<" in page
    assert page.count('class="sortable"') >= 12
