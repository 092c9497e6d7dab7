"""``verify``, ``gc`` and ``why`` on a real store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import tubelet
from conftest import moving_square

from pipeline.locks import lock_file
from pipeline.store import Store
from stages.sources.motion_shapes import write_video


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two videos, and a store with one run over it."""
    root = tmp_path_factory.mktemp("upkeep")
    (root / "my videos").mkdir()
    for seed in range(2):
        write_video(root / "my videos" / f"{seed}.mp4", moving_square(seed=seed), fps=25)
    tubelet("run", "small_recipe", "--no-prefect", "--store", root / "store",
            "--set", f"folder.path={root / 'my videos'}")  # fmt: skip
    return root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "store", tmp_path / "store"))


def flip_bit(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def test_verify_names_the_flipped_bit_and_the_command(store: Path, made: Path) -> None:
    assert "5 artifacts, 0 damaged" in tubelet("verify", "--store", store)
    (path,) = (store / "artifacts" / "slic").rglob("boxes.arrow")
    entry = json.loads((path.parent / "manifest.json").read_text())["files"]["boxes.arrow"]
    flip_bit(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    out = tubelet("verify", "--store", store, fails=True)
    assert (
        f"{path.parent}: boxes.arrow has sha256 {found[:12]}…, not {entry['sha256'][:12]}…" in out
    )
    assert "5 artifacts, 1 damaged" in out
    command = f"tubelet run small_recipe --set 'folder.path={made / 'my videos'}' --store {store}"
    assert command in out
    assert path.exists()
    assert "removed slic-" in tubelet("verify", "slic", "--discard", "--store", store)
    plan = tubelet("plan", "small_recipe", "--set", f"folder.path={made / 'my videos'}",
                   "--store", store)  # fmt: skip
    assert "4 cached, 1 to run" in plan
    tubelet("run", "small_recipe", "--set", f"folder.path={made / 'my videos'}", "--no-prefect",
            "--store", store)  # fmt: skip
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert "5 artifacts, 0 damaged" in tubelet("verify", "--store", store)


def test_verify_finds_a_changed_manifest(store: Path) -> None:
    (path,) = (store / "artifacts" / "slic").rglob("manifest.json")
    whole = path.read_text()
    path.write_text(whole.replace('"num_segments": 16', '"num_segments": 17'))
    out = tubelet("verify", "--store", store, fails=True)
    assert f"{path.parent}: manifest.json tells of other parameters" in out
    for damaged in (whole[: len(whole) // 2].encode(), whole.encode().replace(b"slic", b"sl\xffc")):
        path.write_bytes(damaged)
        out = tubelet("verify", "--store", store, fails=True)
        assert f"{path} is damaged" in out
        assert "5 artifacts, 1 damaged" in out
    out = tubelet("verify", "--discard", "--store", store)
    assert "5 artifacts, 1 damaged" in out
    assert "4 artifacts, 0 damaged" in tubelet("verify", "--store", store)


def test_verify_names_the_newest_run_that_holds_what_is_damaged(store: Path, made: Path) -> None:
    """Whatever other recipes have the step, and however they are called."""
    record = json.loads((store / "runs" / "small_recipe.json").read_text())
    for name, created in (("a_recipe", "2000"), ("newer", "3000"), ("z_recipe", "2001")):
        content = record | {"recipe": name, "created": created, "settings": ["slic.seed=1"]}
        (store / "runs" / f"{name}.json").write_text(json.dumps(content))
    for stage, file in (("slic", "boxes.arrow"), ("decode", "manifest.json")):
        (path,) = (store / "artifacts" / stage).rglob(file)
        flip_bit(path)
    out = tubelet("verify", "--store", store, fails=True)
    commands = [line for line in out.splitlines() if line.startswith("tubelet run")]
    assert commands == [f"tubelet run newer --set slic.seed=1 --store {store}"]
    shutil.rmtree(store / "runs")
    assert "the recipe of 2 artifacts, such as decode-" in tubelet(
        "verify", "--store", store, fails=True
    )


def test_paths_are_told_as_they_would_be_typed(
    store: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (store / "artifacts" / "slic").rglob("boxes.arrow")
    flip_bit(path)
    monkeypatch.chdir(store.parent)
    out = tubelet("verify", "--store", "store", fails=True)
    assert f"\nstore/artifacts/slic/{path.parent.name}: boxes.arrow has" in f"\n{out}"
    command = f"\ntubelet run small_recipe --set 'folder.path={made / 'my videos'}'"
    assert f"{command} --store store\n" in out
    monkeypatch.setattr("workflows.upkeep.DEFAULT_STORE", Path("store"))
    assert f"{command}\n" in tubelet("verify", "--store", "store", fails=True)
    shown = tubelet("show", path.parent.name, "--store", "store").split()
    assert f"store/artifacts/slic/{path.parent.name}" in shown


def test_what_cannot_be_discarded_is_an_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (store / "artifacts" / "slic").rglob("boxes.arrow")
    flip_bit(path)

    def refuse(self: Store, key: str) -> None:
        raise PermissionError(13, "Permission denied", key)

    monkeypatch.setattr(Store, "discard", refuse)
    out = tubelet("verify", "--discard", "--store", store, fails=True)
    assert f"{path.parent.name} cannot be removed: Permission denied" in out


def test_gc_shows_bytes_by_stage_and_leftovers_of_the_dead(store: Path, made: Path) -> None:
    assert "0 unused, 0 B (add --apply)" in tubelet("gc", "--store", store)
    (store / "runs" / "small_recipe.json").unlink()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (store / "runs" / f".x.json.{ended.pid}.tmp").write_text("half")
    (store / "runs" / f".y.json.{os.getpid()}.tmp").write_text("being written")
    (store / "staging" / "slic-0" / "items").mkdir(parents=True)
    (store / "staging" / "slic-0" / "job.json").write_text("{}")
    (store / "artifacts" / "slic" / "slic-1").mkdir()
    (store / "artifacts" / "slic" / "slic-1" / "boxes.arrow").write_bytes(bytes(2048))
    out = tubelet("gc", "--store", store)
    rows = [line.split() for line in out.splitlines()]
    assert ["temporary", "1", "4", "B"] in rows
    assert ["staging", "slic", "1", "2", "B"] in rows
    assert ["remains", "slic", "1", "2.0", "KiB"] in rows
    assert [row[:3] for row in rows if row[:2] == ["artifact", "decode"]]
    assert "8 unused" in out
    key = next(path.name for path in (store / "artifacts" / "slic").iterdir() if len(path.name) > 9)
    kept = tubelet("gc", "--keep", key, "--apply", "--list", "--store", store)
    assert "kept: 3 artifacts" in kept  # slic, decode, folder
    assert "removed remains slic-1" in kept
    assert [path.name for path in (store / "runs").iterdir()] == [f".y.json.{os.getpid()}.tmp"]
    assert not list((store / "staging").iterdir())
    assert "3 artifacts, 0 damaged" in tubelet("verify", "--store", store)


def test_gc_removes_locks_that_nobody_needs(store: Path) -> None:
    locks = store / "locks"
    held, idle = locks / "slic-1.lock", locks / "slic-2.lock"
    idle.touch()
    (locks / "allowed.lock").touch()
    (key,) = (path.name for path in (store / "artifacts" / "slic").iterdir())
    with lock_file(held):
        out = tubelet("gc", "--apply", "--list", "--store", store)
        assert "in use lock slic-1" in out
        assert "removed lock slic-2" in out
        assert held.exists()
    assert not idle.exists()
    assert (locks / "allowed.lock").exists()
    assert (locks / f"{key}.lock").exists()
    (store / "runs" / "small_recipe.json").unlink()
    tubelet("gc", "--apply", "--store", store)
    assert [path.name for path in locks.iterdir()] == ["allowed.lock"]


def test_gc_keeps_work_that_a_run_will_resume(store: Path) -> None:
    key = next((store / "artifacts" / "slic").iterdir()).name
    (store / "staging" / key).mkdir()
    (store / "staging" / key / "journal.jsonl").write_bytes(bytes(100))
    out = tubelet("gc", "--apply", "--store", store)
    assert "kept: unfinished work on 1 artifact, 100 B" in out
    assert (store / "staging" / key / "journal.jsonl").exists()


def test_why_goes_down_to_the_videos(store: Path, made: Path) -> None:
    key = next((store / "artifacts" / "report").iterdir()).name
    out = tubelet("why", key[:12], "--store", store)
    assert out.startswith(f"report: {key}\n")
    assert "about <- slic part 0000: slic-" in out
    assert "    num_segments = 16" in out
    assert "videos <- folder part 0000: videos-" in out
    assert "(see above)" in out  # decode, read by slic and by shard
    for path in sorted((made / "my videos").iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"{path.name}  {digest}  {path}" in out
    manifest = json.loads(
        next((store / "artifacts" / "report").glob("*/manifest.json")).read_text()
    )
    assert f"    code: {manifest['code']}" in out
    assert f"    numpy: {manifest['libraries']['numpy']}" in out


def test_why_says_what_is_gone(store: Path) -> None:
    decode = next((store / "artifacts" / "decode").iterdir())
    shutil.rmtree(decode)
    key = next((store / "artifacts" / "slic").iterdir()).name
    assert f"frames <- {decode.name}: no longer in the store" in tubelet(
        "why", key, "--store", store
    )
