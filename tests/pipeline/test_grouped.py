"""A sequence that learns groups of similar tasks: measured, grouped, trained and compared by one command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fakemedia.core.errors import UserError
from tests.pipeline.conftest import bootstrap, change, run

FAMILIES = {"gan_3": {"family": "upsampling", "kernel": 3}, "latent_2": {"family": "latent", "factor": 2},
            "gan_5": {"family": "upsampling", "kernel": 5}, "latent_4": {"family": "latent", "factor": 4}}
COMMON = {"collection": "four", "tasks": list(FAMILIES), "network": {"name": "convnet", "width": 4, "depth": 2},
          "training": {"epochs": 1, "batch_size": 8, "crop": 48}, "methods": {"finetune": {}}}


@pytest.fixture
def grouped(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose default sequence groups four tasks of two families, against the order given."""
    change(project, {
        "sequence": "pairs",
        "sequences": {"pairs": {**COMMON, "stages": {"n_groups": 2}, "measures": ["fingerprint", "family"],
                                "against": ["singles"]},
                      "singles": {**COMMON, "measures": []}},
        "similarity": {"settings": {"family": {"families": {task: task[:3] for task in FAMILIES}}}},
        "collections": {"four": {
            "source": {"name": "folder", "root": "data/01_raw/four"},
            "forge": {"size": 56, "per_class": {"train": 48, "val": 4, "test": 8}, "tasks": FAMILIES},
        }},
    })
    monkeypatch.chdir(project)
    bootstrap()
    return project


def kedro_run(*options: str) -> Result:
    from fakemedia.cli import cli

    return CliRunner().invoke(cli, ["run", *options])


def stages(project: Path) -> list[str]:
    return sorted(path.name for path in (project / "data/06_models/pairs/finetune/seed0").iterdir() if path.is_dir())


def weights(project: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (project / "data/06_models").rglob("weights.safetensors")}


@pytest.mark.slow
def test_one_command_groups_trains_and_compares(grouped: Path) -> None:
    first = kedro_run()
    assert first.exit_code == 0, first.output
    similarity = grouped / "data/08_reporting/pairs/similarity"
    found = json.loads((similarity / "groups.json").read_text())
    assert found["groups"] == [["gan_3", "gan_5"], ["latent_2", "latent_4"]]
    assert (found["measure"], found["n_groups"], found["order"]) == ("fingerprint", 2, "given")
    assert -1 <= found["silhouette"] <= 1
    for name in ("fingerprint", "family", "spectra", "agreement"):
        assert (similarity / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert stages(grouped) == ["01_gan_3_plus1", "02_latent_2_plus1"]
    assert list(pd.read_csv(grouped / "data/08_reporting/pairs/metrics.csv")["method"]) == ["finetune"]

    comparison = grouped / "data/08_reporting/pairs/comparison"
    arrangements = pd.read_csv(comparison / "arrangements.csv")
    assert set(arrangements["arrangement"]) == {"pairs", "singles"}
    differences = pd.read_csv(comparison / "differences.csv")
    assert set(differences["baseline"]) == {"singles"}
    assert differences.loc[differences["metric"] == "aa", ["mean", "low", "high"]].notna().all(axis=None)
    assert set(pd.read_csv(comparison / "predictions.csv")["measure"]) == {"fingerprint", "family"}
    assert "pairs against singles" in first.output
    assert str(comparison / "comparison.html") in first.output

    before = weights(grouped)
    again = kedro_run("--only-missing-outputs")
    assert again.exit_code == 0, again.output
    assert weights(grouped) == before

    shutil.rmtree(similarity)
    assert kedro_run("--tags", "grouping").exit_code == 0
    assert json.loads((similarity / "groups.json").read_text()) == found
    assert weights(grouped) == before


def test_training_alone_asks_for_the_groups(grouped: Path) -> None:
    change(grouped, {"sequences": {"pairs": {"against": []}}})
    untrained = kedro_run("--tags", "training")
    assert untrained.exit_code == 1
    assert "--tags ingestion,grouping" in untrained.output


@pytest.mark.slow
def test_a_session_does_not_train_by_groups_of_other_data(grouped: Path) -> None:
    change(grouped, {"sequences": {"pairs": {"against": []}}})
    run(grouped)
    assert not list((grouped / "data").rglob("*.safetensors"))
    change(grouped, {"collections": {"four": {"forge": {"seed": 1}}}})
    with pytest.raises(UserError, match="not those of the current data"):
        run(grouped)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"similarity": {"settings": {"own": {"measure": "family", "families": {"gan_3": "gan"}}}},
      "sequences": {"pairs": {"measures": ["own"]}}}, "No family is declared for the task"),
    ({"similarity": {"network": "weights/none.safetensors"},
      "sequences": {"pairs": {"measures": ["mmd"]}}}, "The weights of the network whose features are compared do not"),
    ({"sequences": {"pairs": {"stages": {"n_groups": 5}}}}, "more groups (5) than tasks (4)"),
    ({"similarity": {"settings": {"fisher": {"image": 3}}}, "sequences": {"pairs": {"measures": ["fisher"]}}},
     "did you mean 'images'"),
])
def test_a_fault_is_named_before_anything_runs(grouped: Path, parameters: dict, message: str) -> None:
    change(grouped, parameters)
    result = kedro_run()
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert not (grouped / "data").exists()


@pytest.mark.usefixtures("undrawn")
def test_too_few_images_are_named_before_training(grouped: Path) -> None:
    change(grouped, {"collections": {"four": {"forge": {"per_class": {"train": 8}}}}})
    result = kedro_run()
    assert result.exit_code == 1
    assert "There are 8 images of class 0_real" in " ".join(result.output.split())
    assert not list((grouped / "data").rglob("*.safetensors"))


def test_sequences_that_are_compared_may_all_need_groups(grouped: Path) -> None:
    change(grouped, {"sequences": {"pairs": {"against": ["shuffled"]},
                                   "shuffled": {**COMMON, "stages": {"order": "random"}, "measures": []}}})
    found = kedro_run("--tags", "ingestion,grouping")
    assert found.exit_code == 0, found.output
    for name in ("pairs", "shuffled"):
        assert (grouped / f"data/08_reporting/{name}/similarity/groups.json").exists()
