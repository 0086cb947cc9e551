"""Do the 95 % intervals of the report cover? Simulated scores with a known AUC, through the report's own code.

    python benchmarks/coverage.py [--repetitions 500] [--json]

Every photograph has as many real as fake images, which share a random effect; with several seeds each seed has a random
effect of its own on how well the classes are told apart. The target is 93 to 97 % of the repetitions; with the
repetitions' own error of 1 point, what is outside it is marked.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import norm

from fakemedia.core.rng import generator
from fakemedia.core.types import make_stages
from fakemedia.evaluation.intervals import FRACTION
from fakemedia.reporting.estimates import estimate, measure
from fakemedia.reporting.results import gather

STAGES = make_stages([("task",)])
SHARED = 0.5
"""Standard deviation of a photograph's effect, the noise of an image being 1."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated: photographs with `images` images of each class, the true AUC, seeds and their spread."""

    photographs: int
    auc: float
    images: int = 2
    seeds: int = 1
    spread: float = 0.0


def simulate(setting: Setting, repetition: int) -> pd.DataFrame:
    """Return the scores of one repetition; the seeds' effects shift the fake images by `spread` standard deviations."""
    rng = generator(repetition, "coverage", *map(str, asdict(setting).values()))
    scale = np.sqrt(1 + SHARED**2)
    per_photograph = 2 * setting.images
    label = np.tile(np.arange(per_photograph) % 2, setting.photographs)
    source = np.repeat(np.arange(setting.photographs), per_photograph)
    image = rng.normal(size=len(label)) + SHARED * rng.normal(size=setting.photographs)[source]
    # The mean AUC over seeds is Phi(shift / sqrt(2 + spread^2)) where the shifts are normal.
    shift = norm.ppf(setting.auc) * np.sqrt(2 + setting.spread**2)
    frames = [pd.DataFrame({
        "method": "kd", "seed": seed, "stage": 1, "task": "task", "id": np.arange(len(label)), "label": label,
        "source": source, "logit": image / scale + (shift + setting.spread * rng.normal()) * label,
    }) for seed in range(setting.seeds)]
    return pd.concat(frames, ignore_index=True)


def covers(setting: Setting, repetition: int, draws: int) -> bool:
    """Return whether the interval of one repetition contains the true AUC."""
    results = gather(simulate(setting, repetition), sequence="simulated", network="none", stages=STAGES)
    _, low, high = estimate(measure(results, draws=draws, seed=repetition), lambda _, auc: auc[..., -1, 0], FRACTION)
    return bool(low[0] <= setting.auc <= high[0])


def settings() -> list[Setting]:
    """Return what is tried: many and few photographs and images of each, easy and hard tasks, one seed and several."""
    one = [Setting(photographs=photographs, auc=auc, images=images)
           for (photographs, images), auc in product(((4, 50), (8, 2), (8, 50), (25, 2), (100, 2)), (0.7, 0.9, 0.97))]
    several = [Setting(photographs=100, auc=0.9, seeds=seeds, spread=spread)
               for seeds, spread in ((2, 0.5), (3, 0.1), (3, 0.5), (5, 0.5))]
    return one + several


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for setting in settings():
        share = 100 * float(np.mean([covers(setting, r, options.draws) for r in range(options.repetitions)]))
        rows.append({**asdict(setting), "coverage": share})
        if not options.json:
            mark = "" if 93 <= share <= 97 else "   outside 93 to 97"
            print(f"{setting.photographs:4d} photographs x {setting.images:2d}, AUC {setting.auc:.2f}, seeds "
                  f"{setting.seeds} (spread {setting.spread:.1f}): covered {share:5.1f} %{mark}", flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
