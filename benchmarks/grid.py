"""Train a small grid in one process, and by two workers of a local cluster; compare times and results.

    python benchmarks/grid.py [--seeds 8] [--epochs 12] [--workers 2] [--repeats 1] [--json]

A collection of two tasks is forged and ingested once. `kedro run --tags training` then learns it by fine-tuning, kd and
ewc from every seed: without a cluster, and with `cluster.address=local`, one thread each, in turn. The time is from
the first file of a stage to the end of the last, without the start of Ray and the first imports. The ratio is
time without over time with the cluster; at most the number of workers, on as many free cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
MADE = ("data/06_models", "data/07_model_output")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1",
               "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}


def parameters(seeds: int, epochs: int) -> dict:
    """Return the parameters of the small grid."""
    return {
        "sequence": "small", "n_seeds": seeds, "runtime": {"accelerator": "cpu"},
        "sequences": {"small": {
            "collection": "small", "tasks": ["gan", "latent"], "network": {"name": "convnet", "width": 16, "depth": 4},
            "training": {"epochs": epochs, "batch_size": 16, "lr": 0.01, "crop": 32},
            "methods": {"finetune": {}, "kd": {}, "ewc": {"fisher_images": 64}},
        }},
        "collections": {"small": {
            "source": {"name": "folder", "root": "data/01_raw/small"},
            "forge": {"size": 40, "per_class": {"train": 160, "val": 16, "test": 32},
                      "tasks": {"gan": {"family": "upsampling", "kernel": 3},
                                "latent": {"family": "latent", "factor": 4}}},
        }},
    }


def make_project(folder: Path, given: dict) -> None:
    """Write a project with the repository's configuration and the parameters `given`."""
    for part in ("conf", "pyproject.toml", ".telemetry"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    (folder / "src").mkdir()
    (folder / "conf/local").mkdir(exist_ok=True)
    (folder / "conf/local/parameters.yml").write_text(yaml.safe_dump(given))


def run(project: Path, *options: str) -> None:
    """Give `kedro run` with `options` in `project`."""
    done = subprocess.run([sys.executable, "-m", "kedro", "run", *options], cwd=project, env=ENVIRONMENT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"kedro run ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def trained(data: Path, project: Path, *options: str) -> tuple[float, float, dict[str, bytes]]:
    """Train in a copy of `data`; return seconds from the first file to the last, those of the command, and the files.

    Histories, which hold times, are left out.
    """
    shutil.copytree(data, project)
    begun = time.time()
    run(project, "--tags", "training", *options)
    whole = time.time() - begun
    files = [path for part in MADE for path in (project / part).rglob("*") if path.is_file()]
    times = [path.stat().st_mtime for path in files]
    made = {str(path.relative_to(project)): path.read_bytes() for path in files if path.suffix != ".jsonl"}
    shutil.rmtree(project)
    return max(times) - min(times), whole, made


def measure(work: Path, *, seeds: int, epochs: int, workers: int, repeats: int) -> dict:
    """Return the times of all repeats and whether all files are equal."""
    data = work / "data"
    data.mkdir()
    make_project(data, parameters(seeds, epochs))
    run(data, "--tags", "ingestion")
    on_cluster = ("--params", f"cluster.address=local,cluster.workers={workers}")
    alone, together, whole, same, load = [], [], [], True, []
    for repeat in range(repeats):
        load.append(os.getloadavg()[0])
        seconds, first, expected = trained(data, work / f"alone{repeat}")
        parallel, second, found = trained(data, work / f"together{repeat}", *on_cluster)
        alone.append(seconds)
        together.append(parallel)
        whole.append((first, second))
        same = same and found == expected
    return {"runs": 3 * seeds, "files": len(expected), "identical": same, "workers": workers,
            "cores": os.cpu_count(), "load": load, "seconds": alone, "seconds_on_cluster": together,
            "commands": whole, "ratio": statistics.median(a / b for a, b in zip(alone, together, strict=True))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="of three labels: 8 make 24 runs")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = measure(Path(work), seeds=options.seeds, epochs=options.epochs, workers=options.workers,
                        repeats=options.repeats)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        rounded = {key: [round(value, 1) for value in found[key]] for key in ("seconds", "seconds_on_cluster", "load")}
        told = {**found, **rounded, "share": found["ratio"] / found["workers"],
                "identical": "identical" if found["identical"] else "DIFFERENT"}
        print("{runs} runs, {files} files, {identical}\nwithout: {seconds} s\nwith {workers} workers: "
              "{seconds_on_cluster} s\nratio {ratio:.2f}, {share:.2f} of the number of workers; load average before: "
              "{load}, {cores} cores".format_map(told))
    return int(not found["identical"])


if __name__ == "__main__":
    sys.exit(main())
