"""`kedro grid`: what it runs, and the table of its runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.project import pipelines

from fakemedia.catalog.project_catalog import ProjectCatalog
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError
from fakemedia.pipelines.runner import with_memory_inputs
from tests.pipeline.conftest import bootstrap, change, read


@pytest.fixture
def grid(ingested: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that gives `kedro grid` in a project whose data are ingested."""
    change(ingested, {"sequences": {"tiny": {"training": {"epochs": 1}}}, "runtime": {"accelerator": "cpu"}})
    monkeypatch.chdir(ingested)

    def give(*options: str) -> Result:
        bootstrap()
        from fakemedia.cli import cli

        return CliRunner().invoke(cli, ["grid", *options])

    return give


@pytest.mark.usefixtures("undrawn")
def test_a_grid_runs_its_labels_and_seeds_and_ends_with_their_table(grid: Callable[..., Result],
                                                                   ingested: Path) -> None:
    result = grid("tiny", "--labels", "joint", "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert "Grid: tiny: 2 runs\n" in result.output
    rows = [line.split()[:4] for line in result.output.splitlines() if line.strip().startswith("tiny ")]
    assert rows == [["tiny", "convnet", "joint", seed] for seed in "01"]
    table = pd.read_csv(ingested / "data/08_reporting/runs.csv")
    assert table.groupby("method")["seed"].apply(list).to_dict() == {"joint": [0, 1]}
    assert not (ingested / "data/06_models/tiny/kd").exists()


@pytest.mark.usefixtures("blank")
def test_sequences_of_one_collection_run_together(ingested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes that store `latent` had one name; only the tasks of the first sequence were forged."""
    change(ingested, {
        "sequences": {"second": {**read(ingested)["sequences"]["tiny"], "tasks": ["latent", "third"]}},
        "collections": {"tiny": {"forge": {"tasks": {"third": {"family": "latent", "factor": 2}}}}}})
    monkeypatch.chdir(ingested)
    bootstrap()
    from fakemedia.cli import cli

    def give(*options: str) -> Result:
        return CliRunner().invoke(cli, ["run", "--pipelines", *options])

    result = give("tiny,second", "--tags", "ingestion")
    assert result.exit_code == 0, result.output
    for sequence in ("tiny", "second"):
        assert f"Audit: {ingested / 'data/08_reporting' / sequence / 'audit/audit.html'}" in result.output
    assert (ingested / "data/03_primary/tiny/third/test/manifest.json").exists()
    assert "did you mean 'second'?" in give("tiny,secnd").output
    for sequence, tasks in (("tiny", ("gan", "latent")), ("second", ("latent", "third"))):
        stores = pipelines[sequence].filter(node_names=[f"tiny-data.store_{task}" for task in tasks])
        opened, = (node for node in with_memory_inputs(stores, ProjectCatalog()).nodes if "open_" in node.name)
        assert inspect.getclosurevars(opened.func).nonlocals["settings"]["tasks"] == tasks
    nodes = {node.name: node for node in pipelines["tiny+second"].nodes}
    assert {"tiny-joint.collect_joint", "second-joint.collect_joint"} <= nodes.keys()
    pages = {f"tiny-data.{sequence}__audit_page" for sequence in ("tiny", "second")}
    assert pages <= set(nodes["tiny-data.store_latent"].inputs)
    assert nodes["tiny-data.store_gan"].inputs.count("tiny-data.second__audit_page") == 0


def test_another_network_is_a_sequence_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakemedia.cli.grid_command import cells

    monkeypatch.chdir(project)
    context = load_context()
    made = cells(context, "tiny", ("kd",), 3, ("convnet", "resnet18"))
    assert made["tiny"] == {"labels": ["kd"], "n_seeds": 3}
    changed = load_context(params={"sequences": made})
    for name, network in (("tiny", "convnet"), ("tiny_resnet18", "resnet18")):
        plan = changed.plan(name)
        assert [method.label for method in plan.methods] == ["kd"]
        assert (plan.seeds, plan.network.name, plan.tasks) == ((0, 1, 2), network, context.plan("tiny").tasks)
    assert changed.plan("tiny").network == context.plan("tiny").network


@pytest.mark.parametrize(("options", "told"), [
    (("tinny",), "Unknown sequence 'tinny'"), (("tiny", "--labels", "kdd"), "Unknown label 'kdd'"),
    (("tiny", "--networks", "convnett"), "Unknown network 'convnett'"),
])
def test_names_are_checked_before_anything_runs(grid: Callable[..., Result], options: tuple[str, ...],
                                                told: str) -> None:
    result = grid(*options)
    assert result.exit_code == 1
    assert f"Error: {told}" in result.output
    assert "did you mean" in result.output


def test_a_label_that_is_not_configured_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(UserError, match=r"(?s)Unknown label 'kdd'.*sequences.tiny.labels"):
        load_context(params={"sequences": {"tiny": {"labels": ["kdd"]}}}).plan("tiny")
