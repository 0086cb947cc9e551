"""What does the gate let through? Simulated candidates with known truth.

    python benchmarks/gate.py [--trials 2000] [--pictures 800] [--curve]

Champion and candidate judge the same pictures, half of them real, of `--pictures` / 2 source photographs that give one
picture of each class. They differ on a share of the pictures of each task (discordant). `worse`: the candidate loses
3 points on one old task and is better on the new one; `all worse`: it loses exactly delta, 2 points, on every old task;
`equal`: it loses as often as it gains on every old task, and is 10 points better on the new one. Printed: the share
promoted, with its 95 % Wilson interval, and the shares of the other outcomes. --curve: `worse` by 0 to 5 points, and
`equal` for 1 to 16 old tasks and 1 to 10 % discordant pictures, with the pictures a task that 80 % need by arithmetic.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter

import numpy as np
from scipy.stats import binomtest, norm

from fakemedia.registry.gate_config import GateConfig
from fakemedia.registry.gate_statistics import CONFIDENCE, POWER, Pictures, better, compare, not_worse, summary

MEAN, EACH = GateConfig().delta / 100, GateConfig().delta_task / 100
SHARED = 0.5
"""Correlation of the two pictures of a source photograph, of the normal scores that decide where detectors differ."""


def judged(count: int, lost: float, gained: float, rng: np.random.Generator, task: int = 0) -> Pictures:
    """Return `count` pictures of which the candidate loses and gains these shares."""
    sources = count // 2
    shared = rng.standard_normal(sources)
    draws = np.concatenate([np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.standard_normal(sources)
                            for _ in range(2)])
    place = norm.cdf(draws)
    loses, gains = place < lost, place > 1 - gained
    right = rng.random(count) < 0.95
    names = np.char.add(f"{task}-", np.arange(sources).astype(str))
    return Pictures(labels=np.repeat([0, 1], sources), sources=np.tile(names, 2),
                    champion=(right | loses) & ~gains, candidate=(right | gains) & ~loses)


def trial(losses: list[float], discordant: float, gain: float, count: int, rng: np.random.Generator) -> str:
    """Return the gate's outcome for a candidate that loses `losses` on the old tasks and gains on the new one."""
    old = []
    for task, loss in enumerate(losses):
        differing = max(discordant, loss)
        old.append(judged(count, (differing + loss) / 2, (differing - loss) / 2, rng, task))
    each = MEAN if len(old) == 1 else EACH
    return summary([*(not_worse(compare(task), each) for task in old), not_worse(compare(*old), MEAN),
                    better(compare(judged(count, 0.02, 0.02 + gain, rng)))])


def needed(tasks: int, discordant: float) -> int:
    """Return the pictures a task with which `equal` passes every check on the tasks with the probability POWER.

    n = (z_a + z_b)^2 variance / delta^2, z_b that of the root of POWER; the pictures of a source lose and gain
    together, which raises the variance.
    """
    draws = np.random.default_rng(0)
    variance = float(np.mean([compare(judged(4000, discordant / 2, discordant / 2, draws)).spread for _ in range(20)]))
    z = norm.ppf(CONFIDENCE) + norm.ppf(POWER ** (1 / tasks))
    return math.ceil(z**2 * variance / (MEAN if tasks == 1 else EACH) ** 2)


def measured(losses: list[float], discordant: float, given: argparse.Namespace, rng: np.random.Generator) -> str:
    """Return what is printed of many trials."""
    outcomes = Counter(trial(losses, discordant, 0.1, given.pictures, rng) for _ in range(given.trials))
    promoted = outcomes["pass"]
    low, high = binomtest(promoted, given.trials).proportion_ci(method="wilson")
    return (f"{promoted / given.trials:>9.1%} {low:>7.1%} - {high:>5.1%} "
            f"{outcomes['too few to tell'] / given.trials:>8.1%} {outcomes['fail'] / given.trials:>6.1%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--pictures", type=int, default=800)
    parser.add_argument("--curve", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{given.trials} trials, {given.pictures} pictures a task; largest loss {MEAN:.0%} on average over the old "
          f"tasks, {EACH:.0%} on each of several")
    print(f"{'candidate':<12} {'old tasks':>9} {'discordant':>10} {'promoted':>9} {'95 % interval':>15} "
          f"{'too few':>8} {'fail':>6}  needed")
    for name, loss in (("worse", 0.03), ("all worse", 0.02), ("equal", 0.0)):
        for tasks, discordant in ((1, 0.02), (1, 0.05), (4, 0.02), (4, 0.05)):
            losses = [loss] * tasks if name == "all worse" else [loss, *[0.0] * (tasks - 1)]
            told = f"  {needed(tasks, discordant)}" if name == "equal" else ""
            print(f"{name:<12} {tasks:>9} {discordant:>10.0%} {measured(losses, discordant, given, rng)}{told}",
                  flush=True)
    if given.curve:
        for points in (0, 1, 2, 2.5, 3, 4, 5):
            losses = [points / 100, 0.0, 0.0, 0.0]
            print(f"{f'worse by {points:g}':<12} {4:>9} {0.05:>10.0%} {measured(losses, 0.05, given, rng)}", flush=True)
        for tasks in (1, 2, 4, 8, 16):
            for discordant in (0.01, 0.02, 0.03, 0.05, 0.07, 0.1):
                print(f"{'equal':<12} {tasks:>9} {discordant:>10.0%} "
                      f"{measured([0.0] * tasks, discordant, given, rng)}  {needed(tasks, discordant)}", flush=True)


if __name__ == "__main__":
    main()
