"""``quarantine``: listed, exported, allowed, tried again."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from command import tubelet

from pipeline.store import Store
from storage_schemas.manifest import FileEntry


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One part of four videos, of which one is bad and one is rejected for the time being."""
    root = tmp_path_factory.mktemp("quarantine")
    (root / "videos").mkdir()
    for name in ("a", "bad", "c", "later"):
        (root / "videos" / f"{name}.mp4").write_text(name)
    with mock.patch.dict(os.environ, {"FLAKY": str(root / "flaky")}):
        run(root, "--max-failed-fraction", "0.5")
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAKY", str(tmp_path / "flaky"))
    monkeypatch.setenv("PROBE_LOG", str(tmp_path / "log"))
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


def run(world: Path, *more: object, fails: bool = False) -> str:
    return tubelet(
        "run", "flaky_recipe", "--no-prefect", "--store", world / "store",
        "--set", f"folder.path={world / 'videos'}", *more, fails=fails,
    )  # fmt: skip


def items(world: Path, stage: str) -> list[str]:
    store = Store(world / "store")
    (key,) = store.keys(stage)
    return list(store.read_manifest(key).items)


def digests(world: Path) -> dict[str, dict[str, FileEntry]]:
    store = Store(world / "store")
    return {key: dict(store.read_manifest(key).files) for key in list(store.keys())}


def test_allowed_videos_do_not_count(world: Path) -> None:
    at = ("--store", world / "store")
    out = run(world, fails=True)
    assert "2 of 4 videos are quarantined, more than max_failed_fraction 0.1" in out
    assert "tubelet quarantine allow" in out
    out = tubelet("quarantine", "allow", "bda.mp4", *at, fails=True)
    assert "did you mean 'bad.mp4'?" in out
    tubelet("quarantine", "allow", "bad.mp4", "later.mp4", "--reason", "known in issue 7", *at)
    run(world)
    out = tubelet("quarantine", "list", "flaky_recipe", *at)
    assert "allowed: bad.mp4: known in issue 7" in out
    assert "2 quarantined" in out
    tubelet("quarantine", "allow", "bad.mp4", "--remove", *at)
    out = run(world, fails=True)
    assert "1 of 4 videos are quarantined" in out
    assert "later.mp4: flaky" not in out.partition("more than")[2]


def test_export(world: Path) -> None:
    at = ("--store", world / "store")
    tubelet("quarantine", "export", world / "out" / "q.csv", *at)
    tubelet("quarantine", "export", world / "q.json", "flaky_recipe", *at)
    with (world / "out" / "q.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["video_id"], r["stage"], r["error"]) for r in rows] == [
        ("bad.mp4", "flaky", "BadVideo"), ("later.mp4", "flaky", "BadVideo"),
    ]  # fmt: skip
    assert (rows[1]["frames_got"], rows[1]["frames_expected"], rows[1]["part"]) == (
        "1",
        "2",
        "0000",
    )
    again = json.loads((world / "q.json").read_text())
    assert [row["message"] for row in again] == ["made to fail", "not yet"]
    out = tubelet("quarantine", "export", world / "q.txt", *at, fails=True)
    assert "neither .csv nor .json" in out


def test_retry_tries_only_what_was_rejected(world: Path) -> None:
    at = ("--store", world / "store")
    log = world / "log"
    log.write_text("")
    out = tubelet("quarantine", "retry", "flaky_recipe", *at)
    assert "0 recovered, 2 still quarantined" in out
    assert log.read_text().split("\n")[:-1] == ["flaky bad.mp4", "flaky later.mp4"]
    (world / "flaky").touch()
    log.write_text("")
    out = tubelet("quarantine", "retry", "flaky_recipe", "later.mp4", *at)
    assert "recovered: later.mp4" in out
    assert "1 recovered, 1 still quarantined" in out
    assert "2 artifacts" in out
    assert "tubelet run flaky_recipe --set folder.path=" in out
    assert log.read_text().split("\n")[:-1] == ["flaky bad.mp4", "flaky later.mp4"]
    assert "2 computed, 2 cached" in run(world, "--max-failed-fraction", "0.5")
    assert items(world, "grow") == items(world, "flaky") == ["a.mp4", "c.mp4", "later.mp4"]
    assert "0 damaged" in tubelet("verify", *at)
    found = digests(world)
    run(world, "--from", "flaky", "--max-failed-fraction", "0.5")  # all of it at once
    assert digests(world) == found


def test_a_pinned_run_is_not_changed_by_a_retry(world: Path) -> None:
    at = ("--store", world / "store")
    tubelet("pin", "flaky_recipe", "--as", "paper", *at)
    (world / "flaky").touch()
    out = tubelet("quarantine", "retry", "flaky_recipe", *at, fails=True)
    assert "the pinned run 'paper' rests on flaky-" in out
    assert items(world, "flaky") == ["a.mp4", "c.mp4"]
    out = tubelet("quarantine", "retry", "other", *at, fails=True)
    assert "has not been run here" in out
    tubelet("unpin", "paper", *at)
    out = tubelet("quarantine", "retry", "flaky_recipe", "a.mp4", *at, fails=True)
    assert "'a.mp4' is not quarantined in the last run; did you mean 'bad.mp4'?" in out
