"""What an artifact was made with: versions of libraries, and the state of our own code."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from functools import cache
from pathlib import Path

LIBRARIES = (
    "tubelet", "numpy", "pyarrow", "h5py", "av", "opencv-contrib-python-headless",
    "scikit-image", "scipy", "scikit-learn", "torch",
)  # fmt: skip
PACKAGES = ("pipeline", "stages", "storage_schemas", "workflows")
_GIT_SECONDS = 10


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change a result."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def code_version(root: Path = Path(__file__).parents[1]) -> str:
    """The commit of the code in `root`, ``git COMMIT`` or ``git COMMIT, changed since``.

    Where it is no checkout: the commit that pip installed from, else the distribution's
    version. It tells a person what ran and is never part of a key: an edited comment would
    change it.
    """
    commit = _git(root, "rev-parse", "HEAD")
    # An environment inside of somebody else's checkout is not ours: we must be tracked in it.
    if commit and _git(root, "ls-files", "--", *(f"{name}/*.py" for name in PACKAGES)):
        changed = _git(root, "status", "--porcelain", "--", *PACKAGES)
        return f"git {commit}{', changed since' if changed else ''}"
    try:
        distribution = importlib.metadata.distribution("tubelet")
    except importlib.metadata.PackageNotFoundError:
        return ""
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    installed = origin.get("vcs_info", {}).get("commit_id")
    return f"git {installed}" if installed else f"tubelet {distribution.version}"


def _git(root: Path, *arguments: str) -> str:
    """What git says; empty if there is no git or no checkout."""
    try:
        done = subprocess.run(
            # Asking must not take the index lock from somebody who works in the checkout.
            ["git", "--no-optional-locks", "-C", str(root), *arguments],
            capture_output=True, text=True, timeout=_GIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
