"""The command ``doctor``: what is wrong with an installation."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import typer

from pipeline.execute import library_versions
from pipeline.store import Store
from storage_schemas.errors import StoreError
from workflows.options import StoreDir, console
from workflows.session import DEFAULT_STORE


def doctor(store: StoreDir = DEFAULT_STORE) -> None:
    """Check the installation, and name the fix for what is wrong."""
    problems = find_problems(store)
    for name, version in library_versions().items():
        console.print(f"{name} {version}", highlight=False)
    for problem in problems:
        console.print(f"problem: {problem}", style="red", markup=False, highlight=False)
    if problems:
        raise typer.Exit(1)
    console.print("no problem found", style="green")


def find_problems(store: Path) -> list[str]:
    """What would make runs fail here, each with its remedy."""
    found = []
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    for package in ("pipeline", "stages", "storage_schemas", "workflows"):
        others = set(owners.get(package, [])) - {"tubelet"}
        if others:
            name = ", ".join(sorted(others))
            found.append(f"{name} also installs a package {package!r}: pip uninstall {name}")
    opencv = {name for names in owners.values() for name in names if name.startswith("opencv")}
    if opencv != {"opencv-contrib-python-headless"}:
        found.append(
            f"OpenCV comes from {sorted(opencv)}; two wheels break each other: pip uninstall -y "
            f"{' '.join(sorted(opencv))} && pip install opencv-contrib-python-headless"
        )
    for package in ("torch", "prefect", "av", "skimage", "sklearn"):
        if importlib.util.find_spec(package) is None:
            found.append(f"{package} is not installed: make setup")
    try:
        opened = Store(store)
        free = shutil.disk_usage(opened.root).free
        if free < 2**30:
            found.append(f"{opened.root} has {free >> 20} MiB left: tubelet gc --apply")
    except StoreError as error:
        found.append(str(error))
    return found
