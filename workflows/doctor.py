"""The command ``doctor``: what is wrong with an installation, and the exact fix.

Each check takes what it looks at as arguments, so that it can be shown what is not here.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import typer
from packaging.requirements import Requirement
from packaging.version import Version

from pipeline.provenance import code_version, library_versions
from workflows import server
from workflows.entry import PACKAGES, find_collisions, origin
from workflows.machine import find_clock_problems, find_server_problems, find_store_problems
from workflows.options import StoreDir, console
from workflows.session import DEFAULT_STORE

_OPENCV = "opencv-contrib-python-headless"
# First driver for Linux that runs programs of a CUDA version, and the index of such wheels;
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
_CUDA = {13: ("580.65.06", "cu130"), 12: ("525.60.13", "cu126"), 11: ("450.80.02", "cu118")}
_BECAUSE = {
    "fastapi": "the server of Prefect 3.8 fails with a newer one: Body() got an unexpected "
    "keyword argument",
    "sqlalchemy": "the scheduler of Prefect 3.8 fails with 2.1: no schedule starts a run",
    "prefect": "its states and clients differ between minor versions",
    "torch": "checkpoints and kernels differ between minor versions",
}


def doctor(store: StoreDir = DEFAULT_STORE) -> None:
    """Check the installation, and name the fix for what is wrong."""
    for name, version in library_versions().items():
        console.print(f"{name} {version}", highlight=False)
    console.print(f"code {code_version()}", highlight=False)
    problems = list(find_problems(store))
    for problem in problems:
        console.print(
            f"problem: {problem}", style="red", markup=False, highlight=False, soft_wrap=True
        )
    if problems:
        raise typer.Exit(1)
    console.print("no problem found", style="green")


def find_problems(store: str | Path) -> Iterator[str]:
    """What would make runs fail here, each with its remedy."""
    owners = importlib.metadata.packages_distributions()
    yield from find_collisions(owners, {name: origin(name) for name in (*PACKAGES, "docker")})
    yield from find_opencv_clash(owners)
    yield from find_conflicts(importlib.metadata.requires("tubelet") or [])
    yield from find_cuda_problems(_torch_cuda(), _gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    yield from find_store_problems(store)
    yield from find_clock_problems(store)
    yield from find_server_problems(os.environ.get("PREFECT_API_URL"), server.PORT)


def find_opencv_clash(owners: Mapping[str, Collection[str]]) -> Iterator[str]:
    """OpenCV wheels other than ours; they write into one folder and break each other."""
    found = {name for names in owners.values() for name in names if name.startswith("opencv-")}
    if found != {_OPENCV}:
        given = ", ".join(sorted(found)) or "no wheel"
        remove = f"pip uninstall -y {' '.join(sorted(found))} && " if found else ""
        two = "; two wheels write into one folder and break each other" if len(found) > 1 else ""
        yield f"OpenCV comes from {given}{two}: {remove}pip install {_OPENCV}"


def find_conflicts(
    requirements: Sequence[str], installed: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Libraries that are missing, or of a version that we do not work with.

    Parameters
    ----------
    requirements : sequence of str
        As the metadata of a distribution has them; those of extras are passed over.
    installed : mapping of distribution -> version, optional
        By default what is installed.
    """
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name) if installed is None else installed.get(requirement.name)
        wanted = f"{requirement.name}{requirement.specifier}"
        if found is None:
            yield f"{requirement.name} is not installed: pip install '{wanted}'"
        elif not requirement.specifier.contains(found, prereleases=True):
            because = _BECAUSE.get(requirement.name, "")
            yield (
                f"{requirement.name} {found} is installed, tubelet needs {requirement.specifier}"
                f"{f' ({because})' if because else ''}: pip install '{wanted}'"
            )


def find_cuda_problems(
    wheel: str | None, gpus: Sequence[tuple[str, str]], visible: str | None
) -> Iterator[str]:
    """Why torch would not use the GPUs of this machine.

    Parameters
    ----------
    wheel : str or None
        CUDA version that torch was built for, None for the CPU.
    gpus : sequence of (name, driver version)
    visible : str or None
        ``CUDA_VISIBLE_DEVICES``.
    """
    if not gpus:
        return
    name, driver = gpus[0]
    fits = [index for first, index in _CUDA.values() if Version(driver) >= Version(first)]
    install = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/"
    if wheel is None:
        fix = f"{install}{fits[0]}" if fits else "install a newer driver first"
        yield f"{name} is not used, as torch is built for the CPU: {fix}"
    else:
        first, _ = _CUDA.get(int(wheel.partition(".")[0]), ("0", ""))
        if Version(driver) < Version(first):
            other = f", or {install}{fits[0]}" if fits else ""
            yield (
                f"torch is built for CUDA {wheel}, which needs driver {first} or newer, and {name} "
                f"has driver {driver}: install a newer driver{other}"
            )
    if visible is not None and visible.strip() in ("", "-1"):
        yield f"CUDA_VISIBLE_DEVICES={visible!r} hides {name}: unset CUDA_VISIBLE_DEVICES"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """CUDA version of the installed torch, without the seconds that its import takes."""
    torch = origin("torch")
    if torch is None:
        return None
    text = (torch.parent / "version.py").read_text()
    found = re.search(r"^cuda\b[^=]*= *'([^']+)'", text, re.MULTILINE)
    return found.group(1) if found else None


def _gpus() -> list[tuple[str, str]]:
    """Name and driver version of each NVIDIA GPU."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    found = [tuple(part.strip() for part in line.rpartition(",")[::2]) for line in lines]
    return [(name, driver) for name, driver in found if re.fullmatch(r"[\d.]+", driver)]
