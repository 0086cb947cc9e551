"""When, where and from what the results were made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

PACKAGES = ("fakemedia", "kedro", "torch", "torchvision", "timm", "lightning-fabric", "scikit-learn", "numpy", "pandas")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def provenance(histories: pd.DataFrame, seeds: Sequence[int]) -> dict[str, str]:
    """Return the facts under Reproduce on the page: date, commit, machine, arithmetic, duration, seeds and data hashes.

    `histories` is that of `history.cost_table`, with computed_with and data (JSON of hashes by task and split).
    """
    columns = histories.reindex(columns=["computed_with", "seconds", "data"])
    facts = {
        "Report drawn": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"), "Commit": commit(),
        "Machine of the report": machine(),
        "Trained with": "; ".join(sorted(set(columns["computed_with"].dropna()))),
        "Training time": _duration(float(np.nansum(columns["seconds"].to_numpy(dtype=float)))),
        "Seeds": ", ".join(map(str, seeds)), "Data hashes": ", ".join(_hashes(columns["data"].dropna().unique())),
    }
    return {name: value for name, value in facts.items() if value}


def _hashes(texts: Iterable[str]) -> list[str]:
    """Return the first digits of the hash of each store that was trained on, by task and split."""
    hashes: dict[str, str] = {}
    for text in texts:
        for task, splits in json.loads(text).items():
            hashes |= {f"{task} {split}": str(sha)[:12] for split, sha in splits.items()}
    return [f"{name} {sha}" for name, sha in sorted(hashes.items())]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min in all" if minutes >= 60 else f"{seconds / 60:.1f} min in all"


def run_facts() -> dict[str, Any]:
    """Return commit, machine and package versions of this run."""
    return {"commit": commit(), "machine": machine(), "versions": package_versions()}


def machine() -> str:
    """Return the platform and the number of processor cores."""
    return f"{platform.platform()}, {os.cpu_count()} processor cores"


def commit() -> str:
    """Return the commit of the working folder and whether files differ from it; nothing outside a repository."""
    try:
        head, changes = (
            subprocess.run(["git", *command], capture_output=True, text=True, check=True, timeout=10).stdout
            for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"]))
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.strip() + (", with changes" if changes.strip() else "")
