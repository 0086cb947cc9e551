"""Does monitoring notice a new generator, and stay quiet otherwise? Streams with a known change, each task left out.

    python benchmarks/lifecycle.py [--data FOLDER] [--photos FOLDER] [--trials 25] [--window 200]

A detector learns all tasks but one: a ridge head on a frozen network. A stream draws validation and test pictures of
the tasks learned, with replacement; its first five windows are the reference. Then a share of the pictures is replaced
by fakes of the task left out (a new generator), by its real pictures, or by photographs of --photos (a new camera).
Found: an alarm in the second window after the change. Quiet: alarms in 20 windows without a change. In brackets: 95 %
intervals; those of "found" over trials (Clopper and Pearson), those of the mean over quiet streams by bootstrap.

Without --data, tasks are forged from the packaged photographs; without --photos there is no new camera.

    python benchmarks/lifecycle.py --loops 100 [--seed 0]

does unattended loops instead, with injected bad data, changed files and kills: see `unattended_loops.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from features import task_stores
from scipy.stats import binomtest, bootstrap

from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE, REAL, SPLITS, make_stages
from fakemedia.evaluation.calibration import CalibrationConfig, calibrate
from fakemedia.evaluation.predict import logits_and_features, margins
from fakemedia.forge import ForgeConfig, forge
from fakemedia.learning.sequence import learn_stage, restore_network, validate_checkpoint
from fakemedia.monitoring.drift import STATISTICS, Window, exceeded, make_reference, measure
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.threads import cores
from fakemedia.scoring.checkpoint_model import as_images
from fakemedia.scoring.scores import probabilities_and_verdicts
from fakemedia.store.decode import read_picture

BATCH, QUIET, REFERENCE = 64, 20, 5
SHARES = (0.05, 0.1, 0.2, 0.5)
FORGED = {name: {"family": family} for name, family in (
    ("gan", "upsampling"), ("swap", "blending"), ("latent", "latent"), ("painting", "neural_style"))}


def windows_of(given: argparse.Namespace, left_out: str, stores: dict, photographs: np.ndarray) -> dict[str, Window]:
    """Return all pictures by kind (known, generator, real, camera), scored by a detector that left out a task."""
    known = tuple(task for task in stores if task != left_out)
    stages, network = make_stages([known, (left_out,)]), Plugin(name=given.network, settings={"taps": given.taps})
    training = TrainingConfig(epochs=1, lr=1e-3, crop=given.crop)
    method = MethodPlan(label="one", method="ridge", settings={}, network=network, tune="head", training=training)
    plan = Plan(sequence="benchmark", collection="benchmark", stages=stages, network=network, training=training,
                seeds=(0,), methods=(method,)).resolved()
    train, validation = ({task: stores[task][split] for task in known} for split in ("train", "val"))
    learned = learn_stage(plan=plan, method="one", seed=0, stage=stages[0], parent=None, train=train,
                          validation=validation, folder=None, runtime=given.runtime, features=given.place.joinpath)
    scores, novelty = validate_checkpoint(learned, train, validation, runtime=given.runtime,
                                          features=given.place.joinpath)
    calibration = calibrate(scores, config=CalibrationConfig())
    body = given.runtime.place(restore_network(learned)).eval()

    def scored(crops: np.ndarray) -> Window:
        parts = []
        for start in range(0, len(crops), BATCH):
            with given.runtime.reproducible():
                parts.append(logits_and_features(body, as_images(crops[start:start + BATCH]),
                                                 autocast=given.runtime.autocast))
        logits = np.concatenate([margins(each) for each, _ in parts])
        embeddings = np.concatenate([each.cpu().numpy() for _, each in parts]).astype(np.float16)
        _, verdicts = probabilities_and_verdicts(calibration, logits, novelty.distances(embeddings) / novelty.threshold,
                             np.ones(len(logits), np.int64))
        return Window(logits=logits, unsure=verdicts == "unsure", unknown=verdicts == "unknown", embeddings=embeddings)

    def crops(task: str, splits: tuple[str, ...], labels: tuple[int, ...]) -> np.ndarray:
        parts = [stores[task][split] for split in splits]
        rows = [np.flatnonzero(np.isin(store.labels, labels)) for store in parts]
        return np.concatenate([store.centre_crops(each, given.crop) for store, each in zip(parts, rows, strict=True)])

    both = (REAL, FAKE)
    found = {"known": scored(np.concatenate([crops(task, ("val", "test"), both) for task in known])),
             "generator": scored(crops(left_out, SPLITS, (FAKE,))), "real": scored(crops(left_out, SPLITS, (REAL,)))}
    return found | ({"camera": scored(photographs)} if len(photographs) else {})


def drawn(known: Window, new: Window, share: float, size: int, rng: np.random.Generator) -> Window:
    """Return a window of `size` pictures, each of `new` with the probability `share`."""
    count = rng.binomial(size, share)
    rows = [(known, rng.integers(len(known), size=size - count)), (new, rng.integers(len(new), size=count))]
    logits, unsure, unknown, embeddings = (np.concatenate([getattr(source, name)[each] for source, each in rows])
                                           for name in ("logits", "unsure", "unknown", "embeddings"))
    return Window(logits=logits, unsure=unsure, unknown=unknown, embeddings=embeddings)


def trial(pictures: dict[str, Window], size: int, seed: int) -> tuple[int, dict[tuple[str, float], set[str]]]:
    """Return the alarms of QUIET windows, and the statistics that alarm after each change, by kind and share."""
    rng = np.random.default_rng(seed)
    known = pictures["known"]
    reference = make_reference([drawn(known, known, 0, size, rng) for _ in range(REFERENCE)])

    def above(new: Window, share: float) -> set[str]:
        return set(exceeded(measure(drawn(known, new, share, size, rng), reference), reference.thresholds))

    quiet = [above(known, 0) for _ in range(QUIET)]
    alarms = sum(bool(former & now) for former, now in pairwise(quiet))
    changes = [("generator", share) for share in SHARES] + [(kind, 0.2) for kind in pictures if kind in (
        "real", "camera")]
    return alarms, {(kind, share): above(pictures[kind], share) & above(pictures[kind], share)
                    for kind, share in changes}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--taps", default="both", choices=("head", "early", "blocks", "both"))
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--loops", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.loops:
        from unattended_loops import run

        with tempfile.TemporaryDirectory() as folder:
            sys.exit(run(given.loops, given.seed, Path(folder)))
    given.runtime = Runtime()
    with tempfile.TemporaryDirectory() as folder:
        given.place, data = Path(folder), given.data
        if data is None:
            data = given.place / "raw"
            forge(ForgeConfig(tasks=FORGED), data, workers=cores(), progress=False)
        tasks = sorted(path.name for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
        stores = {task: task_stores(data, task, given.place / "stores") for task in tasks}
        photographs = _photographs(given.photos, given.crop)
        quiet, every = [], {}
        for task in tasks:
            pictures = windows_of(given, task, stores, photographs)
            for seed in range(given.trials):
                alarms, found = trial(pictures, given.window, seed)
                quiet.append(alarms)
                for key, names in found.items():
                    every.setdefault((*key, task), []).append(names)
            _print_found(every, task)
        _print_found(every, None)
    spread = bootstrap((quiet,), np.mean, method="percentile").confidence_interval if np.ptp(quiet) else None
    interval = f" [{spread.low:.2f}, {spread.high:.2f}]" if spread else ""
    print(f"alarms in {QUIET} quiet windows: {np.mean(quiet):.2f}{interval}; most in one stream of "
          f"{len(quiet)}: {max(quiet)}")


def _photographs(folder: Path | None, crop: int) -> np.ndarray:
    """Return the centre crops, uint8 (N, crop, crop, 3), of the JPEG files below a folder."""
    found = []
    for path in sorted(folder.rglob("*.jpg")) if folder else ():
        pixels = read_picture(path.read_bytes()).pixels
        top, left = (pixels.shape[0] - crop) // 2, (pixels.shape[1] - crop) // 2
        found.append(pixels[top:top + crop, left:left + crop])
    return np.array(found, np.uint8)


def _print_found(every: dict[tuple[str, float, str], list[set[str]]], task: str | None) -> None:
    print(f"found within 2 windows, {task or 'all tasks'}:")
    for kind, share in dict.fromkeys(key[:2] for key in every):
        names = [each for key, found in every.items() if key[:2] == (kind, share) and task in (None, key[2])
                 for each in found]
        count = sum(map(bool, names))
        interval = binomtest(count, len(names)).proportion_ci()
        by = "  ".join(f"{name} {np.mean([name in each for each in names]):.2f}" for name in STATISTICS)
        print(f"  {kind:<10}{share:>5.0%}  {count / len(names):.2f} [{interval.low:.2f}, {interval.high:.2f}]  {by}",
              flush=True)


if __name__ == "__main__":
    main()
