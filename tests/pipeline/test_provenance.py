"""The state of the code, as a checkout, a changed one, an installation tell it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline import provenance
from pipeline.provenance import code_version, library_versions


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "a.py").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_a_checkout_tells_its_commit_and_changes(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    version = code_version.__wrapped__
    (checkout / "notes.txt").write_text("not of the code")
    assert version(checkout) == f"git {commit}"
    (checkout / "pipeline" / "b.py").write_text("2")
    assert version(checkout) == f"git {commit}, changed since"


def test_an_environment_inside_of_another_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = checkout / "venv"
    (site / "pipeline").mkdir(parents=True)
    (site / "pipeline" / "a.py").write_text("1")  # not tracked there
    origins = {"direct_url.json": None}

    class Installed:
        version = "1.2.3"

        def read_text(self, name: str) -> Any:
            return origins[name]

    monkeypatch.setattr(provenance.importlib.metadata, "distribution", lambda name: Installed())
    assert code_version.__wrapped__(site) == "tubelet 1.2.3"
    origins["direct_url.json"] = json.dumps({"vcs_info": {"commit_id": "abc"}})  # type: ignore[assignment]
    assert code_version.__wrapped__(site) == "git abc"


def test_libraries_that_are_here() -> None:
    assert {"numpy", "av"} <= set(library_versions())
