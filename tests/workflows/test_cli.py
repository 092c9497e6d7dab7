"""The command as a user runs it: real clips, real processes, no server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.sources.motion_shapes import write_video

CLIPS = Path(__file__).parents[2] / "assets" / "clips"
BIN = str(Path(sys.executable).parent)


def noise_video(num_frames: int, size: tuple[int, int]) -> Any:
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (num_frames, *size, 3), dtype=np.uint8)


def tubelet(*arguments: object, fails: bool = False) -> str:
    done = subprocess.run(
        ["tubelet", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ
        | {"COLUMNS": "200", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with odd names and bad files, run once through the preprocess recipe."""
    root = tmp_path_factory.mktemp("cli")
    folder = root / "my videos"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(CLIPS / "dog.mp4", folder / "a dog (1) #&é.mp4")
    shutil.copy(CLIPS / "plant.mp4", folder / "sub" / "plant.mp4")
    shutil.copy(CLIPS / "plant.mp4", folder / "sub" / "plant copy.mp4")
    write_video(folder / "sub" / "one frame.mp4", noise_video(1, (48, 66)), fps=25)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mkv").write_text("this is no video")
    (folder / "readme.txt").write_text("ignored")
    tubelet(
        "run", "preprocess", "--no-prefect", "--store", root / "store",
        "--set", f"folder.path={folder}", "--max-failed-fraction", "0.5",
    )  # fmt: skip
    return root / "store", folder


def run_again(world: tuple[Path, Path], *more: object, command: str = "run", **how: Any) -> str:
    store, folder = world
    flags = ["--no-prefect", "--max-failed-fraction", "0.5"] if command == "run" else []
    return tubelet(
        command,
        "preprocess",
        "--store",
        store,
        "--set",
        f"folder.path={folder}",
        *flags,
        *more,
        **how,
    )


def test_second_run_computes_nothing_in_seconds(world: tuple[Path, Path]) -> None:
    started = time.monotonic()
    out = run_again(world)
    assert time.monotonic() - started < 10
    assert "0 computed, 9 cached, 2 videos quarantined" in out
    assert "1 files ignored: .txt 1" in out
    assert "exact duplicates are left out: sub/plant.mp4 = sub/plant copy.mp4" in out


def test_a_changed_parameter_runs_its_stage_and_its_readers(world: tuple[Path, Path]) -> None:
    out = run_again(world, "--set", "slic.num_segments=64", command="plan")
    rows = {line.split()[0]: line for line in out.splitlines() if "cached" in line or "run" in line}
    assert "slic.num_segments 16 -> 64" in rows["slic"]
    assert "upstream slic changed" in rows["report"]
    assert all("cached" in rows[s] for s in ("folder", "decode", "track", "shard", "detect"))
    out = run_again(world, "--set", "slic.num_segments=64", "--parts", command="plan")
    assert "slic · part 0000" in out
    out = run_again(world, "--set", "slic.num_segments=64")
    assert "2 computed, 7 cached" in out


def test_box_changes_leave_frame_bytes_alone(world: tuple[Path, Path]) -> None:
    store, _ = world
    before = {p: p.stat().st_mtime_ns for p in (store / "artifacts" / "shard").rglob("*.arrow")}
    run_again(world, "--set", "track.min_length=9")
    after = {p: p.stat().st_mtime_ns for p in (store / "artifacts" / "shard").rglob("*.arrow")}
    assert before == after


def test_quarantine_lists_the_causes(world: tuple[Path, Path]) -> None:
    out = tubelet("quarantine", "list", "--store", world[0])
    assert "empty.mp4" in out
    assert "the file is empty" in " ".join(out.split())
    assert "text.mkv" in out
    assert "2 quarantined" in out


def test_too_many_failures_fail_at_the_end_with_the_list(world: tuple[Path, Path]) -> None:
    store, folder = world
    out = tubelet(
        "run", "preprocess", "--no-prefect", "--store", store, "--set", f"folder.path={folder}",
        "--max-failed-fraction", "0.1", fails=True,
    )  # fmt: skip
    assert "2 of 5 videos are quarantined, more than max_failed_fraction 0.1" in out
    assert "empty.mp4: decode:" in out


def test_show_why_verify_gc(world: tuple[Path, Path]) -> None:
    store, _ = world
    assert "decode-" in tubelet("show", "decode", "--store", store)
    key = next(p.name for p in (store / "artifacts" / "track").iterdir())
    assert "file boxes.arrow" in tubelet("show", key, "--store", store)
    told = tubelet("why", key, "--store", store)
    assert "short_side = 240" in told
    assert "videos <- folder part 0000" in told
    assert "0 damaged" in tubelet("verify", "--store", store)
    assert "(add --apply)" in tubelet("gc", "--store", store)
    assert "no artifact 'nothing'; choose from 'decode', 'detect'" in tubelet(
        "show", "nothing", "--store", store, fails=True
    )


def test_verify_finds_a_flipped_byte(world: tuple[Path, Path], tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(world[0], store)
    path = next((store / "artifacts" / "slic").rglob("boxes.arrow"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "1 damaged" in tubelet("verify", "--store", store, fails=True)


def test_errors_are_one_line_with_the_remedy(world: tuple[Path, Path], tmp_path: Path) -> None:
    out = tubelet("run", "demmo", fails=True)
    assert "did you mean 'demo'?" in out
    assert "Traceback" not in out
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tubelet(
        "plan", "preprocess", "--store", tmp_path / "s", "--set", f"folder.path={empty}", fails=True
    )
    assert "holds no video" in out


def test_lists() -> None:
    assert "num_segments = 16" in tubelet("stages")
    assert re.search(r"ctp v\d+, needs trajectories", tubelet("methods"))
    assert "pretrain -> " in tubelet("recipes")


def test_doctor(tmp_path: Path) -> None:
    assert "no problem found" in tubelet("doctor", "--store", tmp_path / "store")


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "demo"]])
def test_help_and_plan_load_neither_torch_nor_prefect(arguments: list[str], tmp_path: Path) -> None:
    where = ["--store", str(tmp_path)] if arguments[0] == "plan" else []
    heavy = ("torch", "prefect", "sklearn", "skimage.segmentation")
    code = (
        "import sys; from workflows.cli import app\n"
        f"try: app({[*arguments, *where]!r})\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_the_report_needs_nothing_from_outside(world: tuple[Path, Path]) -> None:
    store, _ = world
    (report, *_) = (store / "artifacts" / "report").glob("*/report.html")
    html = report.read_text()
    assert "a dog (1) #&amp;é.mp4" in html or "empty.mp4" in html
    assert "http://" not in html
    assert "https://" not in html
    assert html.count("data:image/jpeg;base64,") >= 6
    assert 'name="viewport"' in html


def test_two_places_of_the_videos_contradict_each_other(tmp_path: Path) -> None:
    told = tubelet(
        "plan", "preprocess", "--data", CLIPS, "--set", f"folder.path={tmp_path}",
        "--store", tmp_path / "store", fails=True,
    )  # fmt: skip
    assert f"--set folder.path={tmp_path} both say where the videos lie" in told
