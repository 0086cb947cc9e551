"""Figures: they show the numbers of their tables, are told apart without colour, and render to the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fakemedia.reporting.compact_svg import compact
from fakemedia.reporting.examples import Example, Examples
from fakemedia.reporting.figures.matrices import matrix_figure
from fakemedia.reporting.figures.method_comparison import curve_figure, real_fake_figure, task_figure
from fakemedia.reporting.figures.robustness_curves import robustness_figure
from fakemedia.reporting.figures.score_histograms import calibration_figure
from fakemedia.reporting.figures.training_curves import training_figure
from fakemedia.reporting.gallery import FIGURES, draw_section
from fakemedia.reporting.novelty_table import novelty_table
from fakemedia.reporting.profiles import FINAL, LEARNED, Profiles, make_profiles
from fakemedia.reporting.rendering import MAX_SVG_BYTES, render, stacked
from fakemedia.reporting.results import Results, gather
from fakemedia.reporting.robustness_table import robustness_table
from fakemedia.reporting.sections import SCORES as SCORE_SECTION
from fakemedia.reporting.sections import SECTIONS
from fakemedia.reporting.similarity_figures import agreement_figure, distance_figure
from fakemedia.reporting.style import line_styles
from fakemedia.reporting.tables import Tables, make_tables
from fakemedia.similarity.grouping import hierarchy

from ..figures import stub_figures
from ..scores import make_histories, make_robustness, make_scores


def some_examples(task: str, methods: Sequence[str]) -> Examples:
    shown = [Example(task=task, label=label, probability=0.7, picture=np.full((200, 90, 3), 99, np.uint8))
             for label in (0, 1)]
    return Examples(pairs={task: shown}, worst=dict.fromkeys(methods, shown), missing=[])


GROUPS = [("gan-a",), ("warp_b",), ("sr_c", "sr_d")]
METHODS = ("finetune", "kd", "ewc", "joint")
SCORES, STAGES = make_scores(GROUPS, images=60, photographs=12)


def gathered(scores: pd.DataFrame) -> Results:
    return gather(scores, sequence="demo", network="convnet", stages=STAGES)


@pytest.fixture(scope="module")
def results() -> Results:
    return gathered(SCORES)


@pytest.fixture(scope="module")
def tables(results: Results) -> Tables:
    return make_tables(results, draws=100)


@pytest.fixture(scope="module")
def profiles(results: Results) -> Profiles:
    return make_profiles(results, {(method, seed): 2.0 for method in METHODS for seed in range(3)}, draws=100)


def test_curves_and_matrices_show_their_tables(tables: Tables) -> None:
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
    figure = task_figure(tables.tasks, "forgetting")
    assert "undefined" in figure.axes[0].texts[0].get_text()
    assert render(figure, "png").startswith(b"\x89PNG")


def test_real_and_fake_have_a_panel_each(tables: Tables) -> None:
    for axes, name in zip(real_fake_figure(tables.tasks).axes, ("real", "fake"), strict=True):
        drawn = {line.get_marker(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 4}
        table = tables.tasks[(tables.tasks.method == "kd") & (tables.tasks.measure == f"{name}_accuracy")]
        np.testing.assert_allclose(drawn[line_styles(METHODS)["kd"].marker], table["mean"])
        assert name in axes.get_ylabel().lower()


def test_matrices_are_centred_at_chance(tables: Tables) -> None:
    for measure, top in (("accuracy", 100), ("auc", 1)):
        image = matrix_figure(tables.matrices, "kd", measure).axes[0].images[0]
        assert image.get_clim() == (0, top)
        assert np.mean(image.cmap(0.5)[:3]) > 0.9


def test_reliability_has_a_panel_with_counts_for_each_method(profiles: Profiles) -> None:
    figure = calibration_figure(profiles, METHODS)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == list(METHODS)
    assert len(figure.axes) == 2 * len(METHODS)
    counts = [patch.get_data().values.sum() for axes in figure.axes[len(METHODS):] for patch in axes.patches]
    assert counts == pytest.approx([240] * 2 * len(METHODS))


def test_no_label_is_cut_off() -> None:
    """With long names of tasks and methods, every text lies within its figure."""
    tasks = [("faceforensics_deepfakes",), ("whichfaceisreal",), ("stable_diffusion_xl",)]
    methods = ("finetune_resnet18_head", "replay_with_5_percent", "joint")
    scores, stages = make_scores(tasks, methods=methods, seeds=(0, 1, 2), images=24, photographs=6)
    results = gather(scores, sequence="s", network="n", stages=stages)
    tables = make_tables(results, draws=10, families={"whichfaceisreal": "gan", "stable_diffusion_xl": "diffusion"})
    profiles = make_profiles(results, draws=10)
    robustness = robustness_table(make_robustness(scores, stages), sequence="s", network="n", tasks=stages[-1].seen,
                                  draws=10)
    material = {"tables": tables, "profiles": profiles, "robustness": robustness,
                "histories": make_histories(stages, methods, seeds=(0,)),
                "examples": some_examples(tasks[0][0], methods),
                "novelty": novelty_table(scores.assign(novelty=0.5), stages=stages)}
    figures = {figure.name: figure.draw(*(material[name] for name in figure.section.needs),
                                        *([methods[0]] if "{method}" in figure.name else [])) for figure in FIGURES}
    distances = pd.DataFrame(1.0 - np.eye(3), index=list(stages[-1].seen), columns=list(stages[-1].seen))
    figures["distances"] = distance_figure(distances, hierarchy(distances), "frechet_real")
    figures["agreement"] = agreement_figure(pd.DataFrame(np.eye(2), index=["frechet_real", "mmd"],
                                                         columns=["frechet_real", "mmd"]))
    for name, figure in figures.items():
        assert figure is not None, name
        figure.draw_without_rendering()
        drawn, size = figure.get_tightbbox(), figure.get_size_inches()
        outside = max(*-drawn.min, *(drawn.max - size))
        assert outside < 0.01, f"{name}: {outside:.2f} inches outside"


def test_roc_curves_enclose_their_auc(tables: Tables, profiles: Profiles) -> None:
    rocs = profiles.rocs[(profiles.rocs.method == "kd") & (profiles.rocs.task == "gan-a")]
    for moment, stage in ((LEARNED, 1), (FINAL, 3)):
        curve = rocs[rocs.moment == moment]
        cell = tables.matrices[(tables.matrices.method == "kd") & (tables.matrices.task == "gan-a")
                               & (tables.matrices.measure == "auc") & (tables.matrices.stage == stage)]
        assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(cell["mean"].iloc[0], abs=0.01)
    last = profiles.rocs[(profiles.rocs.task == "sr_c")]
    assert set(last["moment"]) == {FINAL}


def test_histograms_hold_every_image(profiles: Profiles) -> None:
    table = profiles.histograms
    areas = (table["density"] * (table["right"] - table["left"])).groupby(
        [table["method"], table["task"], table["moment"], table["label"]]).sum()
    np.testing.assert_allclose(areas, 1)
    assert set(table[table.method == "joint"]["moment"]) == {FINAL}


def test_reliability_counts_every_image_and_follows_the_temperature(profiles: Profiles) -> None:
    bins = profiles.reliability[profiles.reliability.method == "kd"]
    assert bins.groupby("calibrated")["images"].sum().tolist() == pytest.approx([240, 240])
    raw, calibrated = (bins[bins.calibrated == kind]["images"].to_numpy() for kind in (False, True))
    assert raw[0] + raw[-1] > calibrated[0] + calibrated[-1]
    inside = bins.dropna(subset="mean")
    assert ((inside["low"] <= inside["mean"] + 1e-9) & (inside["mean"] <= inside["high"] + 1e-9)).all()
    assert set(profiles.errors["calibrated"]) == {False, True}


def test_a_temperature_that_fits_brings_the_curve_to_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=6000)
    logit = np.log(probability / (1 - probability))
    label = (rng.uniform(size=6000) < probability).astype(np.int8)
    scores = pd.DataFrame({"method": "kd", "seed": 0, "stage": 1, "task": "a", "id": np.arange(6000), "label": label,
                           "source": np.arange(6000), "logit": 3 * logit})
    stages = make_scores([("a",)], methods=("kd",), seeds=(0,), images=4)[1]
    results = gather(scores, sequence="s", network="n", stages=stages)
    bins = make_profiles(results, {("kd", 0): 3.0}, draws=100).reliability
    fitted = bins[bins.calibrated]
    np.testing.assert_allclose(fitted["mean"], 100 * fitted["probability"], atol=6)
    raw = bins[~bins.calibrated]
    assert np.abs(raw["mean"] - 100 * raw["probability"]).max() > 15


def test_training_curves_have_a_line_a_seed_stage_and_term() -> None:
    histories = make_histories(STAGES, METHODS, seeds=(0, 1))
    loss, accuracy = training_figure(histories, STAGES, METHODS).axes[2:4]
    curves = [line for line in loss.lines if len(line.get_xdata()) == 4]
    assert len(curves) == 2 * 3 * 2
    assert max(line.get_xdata().max() for line in curves) == 3
    assert sum(len(line.get_xdata()) == 4 for line in accuracy.lines) == 2 * 3
    without = histories.drop(columns=["accuracy"])
    assert len(training_figure(without, STAGES, METHODS).axes) == 4
    assert "no histories" in training_figure(histories.iloc[:0], STAGES, METHODS).axes[0].texts[0].get_text()


def test_robustness_curves_are_means_over_the_tasks() -> None:
    scores = make_robustness(SCORES, STAGES)
    table = robustness_table(scores, sequence="s", network="n", tasks=STAGES[-1].seen, draws=50)
    rows = scores[(scores.method == "kd") & (scores.perturbation == "jpeg") & (scores.strength == 30)]
    right = 100 * ((rows.logit > 0) == rows.label).groupby(rows["task"]).mean().mean()
    cell = table[(table.method == "kd") & (table.perturbation == "jpeg") & (table.strength == 30)
                 & (table.measure == "accuracy")]
    assert cell["mean"].iloc[0] == pytest.approx(right)
    jpeg = table[(table.method == "kd") & (table.perturbation == "jpeg") & (table.measure == "accuracy")]
    assert jpeg[jpeg.strength.isna()]["mean"].iloc[0] == pytest.approx(jpeg[jpeg.strength.notna()]["mean"].mean())
    axes = robustness_figure(table, METHODS).axes
    assert [one.get_title() for one in axes] == ["jpeg", "contrast"]
    assert [one.get_xlabel() for one in axes] == ["quality", "factor"]
    assert robustness_table(scores.iloc[:0], sequence="s", network="n", tasks=STAGES[-1].seen).empty


def test_everything_is_drawn_once_and_what_is_undefined_is_left_out(tables: Tables, profiles: Profiles,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    stub_figures(monkeypatch, ("pdf", "png"))  # PNG files are drawn in tests/pipeline/test_run.py
    material = {"tables": tables, "profiles": profiles, "histories": make_histories(STAGES, METHODS, seeds=(0,)),
                "robustness": robustness_table(make_robustness(SCORES, STAGES), sequence="s", network="n",
                                               tasks=STAGES[-1].seen, draws=10),
                "examples": some_examples("gan-a", METHODS),
                "novelty": novelty_table(SCORES.assign(novelty=0.5), stages=STAGES)}
    drawn = [each for section in SECTIONS
             for each in draw_section(section, *(material[name] for name in section.needs))]
    names = [each.name for each in drawn]
    methods = sum("{method}" in figure.name for figure in FIGURES)
    assert len(names) == len(set(names)) == len(FIGURES) + methods * (len(METHODS) - 1)
    assert {figure.section for figure in FIGURES} == set(SECTIONS)
    for each in drawn:
        assert {"pdf", "png"} <= set(each.files) <= {"pdf", "png", "svg", "jpg"}
        assert len(each.files.get("svg", b"")) <= MAX_SVG_BYTES
        assert each.caption
        assert "{" not in each.caption
    one_class = gathered(SCORES[SCORES.label == 0])
    left = {each.name for each in draw_section(SCORE_SECTION, make_tables(one_class, draws=10),
                                               make_profiles(one_class, draws=10))}
    assert left == {*(f"scores_{method}" for method in METHODS), "reliability"}


def test_methods_differ_by_more_than_colour() -> None:
    drawn = line_styles([f"m{i}" for i in range(12)]).values()
    assert len({(look.marker, str(look.dashes)) for look in drawn}) == 12


def test_a_figure_renders_to_the_same_bytes_with_embedded_fonts(tables: Tables) -> None:
    drawn = [matrix_figure(tables.matrices, "kd") for _ in range(2)]
    for kind in ("png", "pdf", "svg"):
        assert render(drawn[0], kind) == render(drawn[1], kind)
    assert b"/FontFile2" in render(drawn[0], "pdf")
    assert len(ElementTree.fromstring(render(drawn[0], "svg"))) > 1
    assert stacked([render(drawn[0], "png")] * 2).startswith(b"\x89PNG")


def test_svg_files_are_compact() -> None:
    svg = (b'<?xml version="1.0"?>\n<svg xmlns:xlink="x" width="252pt">\n <metadata>\n  <a/>\n </metadata>\n '
           b'<g id="a_1"/>\n <g id="a_2">\n  <!-- 5 -->\n  <path id="DejaVuSans-a" d="M 1000 -4 \nQ 16 24 8 80 \nz\n" '
           b'transform="scale(0.015625)"/>\n  <g transform="translate(64.604779 188.340354) rotate(-35) '
           b'scale(0.065 -0.065)"><use xlink:href="#DejaVuSans-a" '
           b'transform="translate(63.484375 0)"/></g>\n  <path d="M 1.006 2.126 \nL 3.5 2.126 \nL 3.5 -0.001 '
           b'\nL 1 1 \nz\n" clip-path="url(#p1)" style="fill: none; stroke-width: 0.605"/>\n </g>\n</svg>')
    assert compact(svg).decode() == (
        '<svg xmlns:xlink="x" width="252pt"><g><path id="ga" d="M125 0Q2 3 1 10z" transform="scale(0.125)"/>'
        '<g transform="translate(64.6 188.34) rotate(-35) scale(0.065 -0.065)"><use xlink:href="#ga" x="63.48"/></g>'
        '<path d="M1.01 2.13H3.5V0L1 1z" clip-path="url(#p1)" style="fill:none;stroke-width:0.605"/></g></svg>')
