"""What may import what: the layers, and what the quick commands must not pay for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric", "sklearn", "mlflow", "onnxruntime")
QUICK = (["--help"], ["serve", "--help"], ["register", "--help"], ["registry", "list"], ["run", "--help"],
         ["step", "--help"])


def test_imports_go_downward_only() -> None:
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_no_two_modules_have_one_name() -> None:
    """Kedro's own names apart: each pipeline has its nodes.py and pipeline.py."""
    names = Counter(path.name for path in (ROOT / "src/fakemedia").rglob("*.py"))
    assert [name for name, count in names.items() if count > 1 and name not in (
        "__init__.py", "nodes.py", "pipeline.py")] == []


def test_quick_commands_import_no_framework() -> None:
    """One process for all: importing Kedro takes most of the time of each."""
    program = (f"import sys, kedro.framework.cli.cli as kedro\nfor command in {QUICK!r}:\n"
               f"    sys.argv = ['kedro', *command]\n"
               f"    try:\n        kedro.main()\n    except SystemExit as end:\n"
               f"        assert not end.code, (command, end.code)\n"
               f"    found = [name for name in {HEAVY!r} if name in sys.modules]\n"
               f"    assert not found, (command, found)\n")
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "cddb_short" in result.stdout
    assert "--target-dataset" in result.stdout
