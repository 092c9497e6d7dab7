"""Benchmarks are run by hand; what they import, and their help, must not vanish unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NOT_INSTALLED = {"kornia", "captum"}  # compared with in an environment of its own


def test_every_benchmark_finds_what_it_imports_and_measures_nothing_for_help() -> None:
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    code = f"""
import importlib, sys
for name in {names!r}:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {NOT_INSTALLED!r}:
            raise
        continue
    sys.argv = [name, "-h"]
    try:
        if hasattr(module, "main"):
            module.main()
            raise SystemExit(f"{{name}} -h did not stop after its help")
    except SystemExit as stop:
        if stop.code:
            raise
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(names) > 8
