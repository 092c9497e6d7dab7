"""Another package under one of our names is named, with the fix, before anything breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.entry import find_collisions

OURS = {"pipeline": ["tubelet"], "stages": ["tubelet"]}
ROOT = Path("/repo")
AT_HOME = {name: ROOT / name / "__init__.py" for name in ("pipeline", "stages", "workflows")}


@pytest.mark.parametrize(
    ("owners", "origins", "said"),
    [
        ({}, {}, None),
        ({"docker": ["docker"]}, {"docker": Path("/site/docker/__init__.py")}, None),
        (
            {"pipeline": ["tubelet", "mlpipe"]},
            {},
            "mlpipe also installs a package 'pipeline': pip uninstall -y mlpipe",
        ),
        (
            {},
            {"stages": Path("/home/me/stages.py")},
            "'stages' is imported from /home/me/stages.py, not from /repo: rename it, or",
        ),
        (
            {},
            {"docker": ROOT / "docker" / "__init__.py"},
            "/repo/docker/__init__.py stands before the Docker SDK that Prefect imports: rm /repo",
        ),
    ],
)
def test_collisions(
    owners: dict[str, list[str]], origins: dict[str, Path], said: str | None
) -> None:
    found = list(find_collisions(OURS | owners, AT_HOME | origins, ROOT))
    assert len(found) == (said is not None)
    assert said is None or found[0].startswith(said)


def test_an_installed_tubelet_lies_beside_the_docker_sdk() -> None:
    root = Path("/venv/lib/python3.11/site-packages")
    assert not list(find_collisions({}, {"docker": root / "docker" / "__init__.py"}, root))


def test_the_command_says_who_stands_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("")
    root = Path(__file__).parents[2]
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; from workflows.entry import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: 'pipeline' is imported from {tmp_path / 'pipeline.py'}, not from {root}: rename it"
    )


def test_nothing_is_in_the_way_here() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from workflows.entry import main; main()", "--help"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "sweep" in done.stdout
