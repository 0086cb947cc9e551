"""What does the gate let through? Simulated candidates with known truth.

    python benchmarks/gate.py [--trials 500] [--pictures 800]

Champion and candidate judge the same pictures, half of them real, of `--pictures` / 2 source photographs that give one
picture of each class. They differ on a share of the pictures of each task (discordant). `worse`: the candidate loses
3 points on one old task and is better on the new one; `at delta`: it loses exactly delta, 2 points; `equal`: it loses
as often as it gains on every old task, and is 10 points better on the new one. Printed: the share promoted, with its
95 % Wilson interval, and the shares of the other outcomes.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from scipy.stats import binomtest, norm

from fakemedia.registry.gate_statistics import Pictures, better, compare, not_worse, summary

DELTA = 0.02
SHARED = 0.5
"""Correlation of the two pictures of a source photograph, of the normal scores that decide where detectors differ."""


def judged(count: int, lost: float, gained: float, rng: np.random.Generator) -> Pictures:
    """Return `count` pictures of which the candidate loses and gains these shares."""
    sources = count // 2
    shared = rng.standard_normal(sources)
    draws = np.concatenate([np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.standard_normal(sources)
                            for _ in range(2)])
    place = norm.cdf(draws)
    loses, gains = place < lost, place > 1 - gained
    right = rng.random(count) < 0.95
    return Pictures(labels=np.repeat([0, 1], sources), sources=np.tile(np.arange(sources), 2).astype(str),
                    champion=(right | loses) & ~gains, candidate=(right | gains) & ~loses)


def trial(losses: list[float], discordant: float, gain: float, count: int, rng: np.random.Generator) -> str:
    """Return the gate's outcome for a candidate that loses `losses` on the old tasks and gains on the new one."""
    found = [not_worse(compare(judged(count, discordant / 2 + loss / 2, discordant / 2 - loss / 2, rng)), DELTA)
             for loss in losses]
    return summary([*found, better(compare(judged(count, 0.02, 0.02 + gain, rng)))])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=800)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{given.trials} trials, {given.pictures} pictures a task, delta {DELTA:.0%}")
    print(f"{'candidate':<10} {'old tasks':>9} {'discordant':>10} {'promoted':>9} {'95 % interval':>15} "
          f"{'too few':>8} {'fail':>6}")
    for name, loss in (("worse", 0.03), ("at delta", 0.02), ("equal", 0.0)):
        for tasks, discordant in ((1, 0.05), (4, 0.02), (4, 0.05)):
            if loss > discordant:
                discordant = loss
            losses = [loss, *[0.0] * (tasks - 1)]
            outcomes = Counter(trial(losses, discordant, 0.1, given.pictures, rng) for _ in range(given.trials))
            promoted = outcomes["pass"]
            low, high = binomtest(promoted, given.trials).proportion_ci(method="wilson")
            print(f"{name:<10} {tasks:>9} {discordant:>10.0%} {promoted / given.trials:>9.1%} "
                  f"{low:>7.1%} - {high:>5.1%} {outcomes['too few to tell'] / given.trials:>8.1%} "
                  f"{outcomes['fail'] / given.trials:>6.1%}", flush=True)


if __name__ == "__main__":
    main()
