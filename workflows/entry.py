"""Where ``tubelet`` begins: before our packages are imported, it is seen whose they are.

Imports nothing of ours at the top: what it looks for keeps that from being imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

PACKAGES = ("pipeline", "stages", "storage_schemas", "workflows")
_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the command; where it cannot be imported, say what stands in its way."""
    try:
        from workflows.cli import main as run
    except ImportError:
        owners = importlib.metadata.packages_distributions()
        problems = list(find_collisions(owners, {name: origin(name) for name in PACKAGES}))
        if not problems:
            raise
        sys.exit("\n".join(f"error: {problem}" for problem in problems))
    run()


def find_collisions(
    owners: Mapping[str, Collection[str]],
    origins: Mapping[str, Path | None],
    root: Path = _ROOT,
) -> Iterator[str]:
    """Others that own, or stand before, one of our top-level names.

    Parameters
    ----------
    owners : mapping of top-level name -> distributions
    origins : mapping of top-level name -> Path or None
        File that an import would read.
    root : Path
        Where our packages lie.
    """
    for package in PACKAGES:
        others = set(owners.get(package, [])) - {"tubelet"}
        if others:
            name = " ".join(sorted(others))
            yield f"{name} also installs a package {package!r}: pip uninstall -y {name}"
        origin = origins.get(package)
        if origin is not None and not origin.is_relative_to(root):
            yield (
                f"{package!r} is imported from {origin}, not from {root}: rename it, or take its "
                "folder out of PYTHONPATH and of the working directory"
            )
    docker = origins.get("docker")
    installed = root.name.endswith("-packages")  # beside the SDK; in a checkout, beside our folder
    if docker is not None and docker.is_relative_to(root / "docker") and not installed:
        yield f"{docker} stands before the Docker SDK that Prefect imports: rm {docker}"


def origin(package: str) -> Path | None:
    """File that an import of a top-level name would read."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None
