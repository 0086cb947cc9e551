"""What the quick commands take, and a run from the command to its first training step.

    python benchmarks/startup.py [--sequence demo] [--json]

Start it in the project's folder after a run of the sequence, so that its pixel stores exist. The measured
run has a seed of its own, so that it trains, and ends in its first step; it leaves no checkpoint behind. Seconds are
those of this machine at this moment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

TURNS = 3
SEED = 987_654_321
KEDRO = "import sys\nfrom kedro.framework.cli.cli import main\nsys.argv = ['kedro', *{arguments!r}]\n{before}\nmain()\n"
STOP = """
import os
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: os._exit(77))
"""
STOPPED = 77


def seconds(program: str, expected: int = 0) -> float:
    """Return the median of what `program` takes in a new interpreter."""
    found = []
    for _ in range(TURNS):
        started = time.perf_counter()
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                                env={**os.environ, "DO_NOT_TRACK": "1"})
        if result.returncode != expected:
            raise SystemExit(f"{program}\nended with {result.returncode}:\n{result.stdout}{result.stderr}")
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def command(*arguments: str, before: str = "") -> str:
    """Return the program of a kedro command."""
    return KEDRO.format(arguments=list(arguments), before=before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequence", default="demo")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    run = ("run", "--pipelines", options.sequence, "--params", f"seed={SEED}")
    found = {
        "kedro --help": seconds(command("--help")),
        "kedro registry list": seconds(command("registry", "list")),
        "import torch": seconds("import torch"),
        "import timm": seconds("import timm"),
        "kedro run to the first step": seconds(command(*run, before=STOP), STOPPED),
        "kedro run --tags training to the first step": seconds(command(*run, "--tags", "training", before=STOP),
                                                               STOPPED),
    }
    if options.json:
        print(json.dumps({"seconds": found}, indent=2))
        return
    for name, value in found.items():
        print(f"{name:45} {value:6.2f} s")


if __name__ == "__main__":
    main()
