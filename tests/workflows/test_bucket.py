"""Commands with a store in a bucket, on machines that have no disk in common."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from command import tubelet
from s3_server import BUCKET, free_port
from stores import objects, tamper

from pipeline.store import open_store
from storage_schemas.report import REPORT_NAME
from workflows import server
from workflows.machine import find_clock_problems, find_store_problems

pytestmark = pytest.mark.xdist_group("bucket")  # one store, made once


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, s3: str) -> tuple[str, Path]:
    """A store in a bucket, made by a machine whose scratch is no longer there."""
    from conftest import moving_square

    from stages.sources.motion_shapes import write_video

    root = tmp_path_factory.mktemp("bucket")
    (root / "videos").mkdir()
    write_video(root / "videos" / "a.mp4", moving_square(), fps=25)
    (root / "videos" / "bad.mp4").write_text("no video")
    url = f"s3://{BUCKET}/{root.name}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUBELET_SCRATCH", str(root / "first"))
        out = tubelet(
            "run", "small_recipe", "--store", url, "--no-prefect", "--workers", "2",
            "--data", root / "videos", "--max-failed-fraction", "0.5",
        )  # fmt: skip
        assert "5 computed, 0 cached, 1 video quarantined" in out
    return url, root / "videos"


@pytest.fixture(autouse=True)
def _fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBELET_SCRATCH", str(tmp_path / "scratch"))


def test_another_machine_finds_all_of_it(world: tuple[str, Path], tmp_path: Path) -> None:
    url, videos = world
    out = tubelet("plan", "small_recipe", "--data", videos, "--store", url)
    assert "5 cached, 0 to run" in out
    assert "no video" not in tubelet("doctor", "--store", url)
    out = tubelet("run", "small_recipe", "--data", videos, "--store", url, "--no-prefect",
                  "--max-failed-fraction", "0.5")  # fmt: skip
    assert "0 computed, 5 cached" in out
    (report,) = (line for line in out.splitlines() if line.startswith("report: "))
    assert Path(report.removeprefix("report: ")).read_text().startswith("<!")
    key = next(open_store(url).keys("slic"))
    told = tubelet("show", key, "--store", url)
    assert f"{url}/artifacts/slic/{key}" in told
    tubelet("show", "slic", "--sheet", "--to", tmp_path / "sheet.jpg", "--store", url)
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000
    tubelet("show", "slic", "--video", "a.mp4", "--to", tmp_path / "a.mp4", "--store", url)
    assert (tmp_path / "a.mp4").stat().st_size > 1000
    assert "videos <- folder part 0000" in tubelet("why", "report", "--store", url)
    assert "5 artifacts, 0 damaged" in tubelet("verify", "--store", url)
    assert "bad.mp4" in tubelet("quarantine", "list", "--store", url)
    tubelet("quarantine", "allow", "bad.mp4", "--store", url)
    assert "allowed: bad.mp4" in tubelet("quarantine", "list", "--store", url)
    out = tubelet("export", "small_recipe", tmp_path / "tars", "--store", url)
    assert "1 video in 1 tar" in out
    assert "holds report, not metrics" in tubelet("metrics", "report", "--store", url, fails=True)


def test_runs_are_recorded_in_the_bucket(world: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = world
    tubelet("pin", "small_recipe", "--as", "first", "--store", url)
    out = tubelet(
        "sweep", "small_recipe", "slic.num_segments=8,16", "--no-prefect", "--store", url,
        "--set", f"folder.path={world[1]}", "--max-failed-fraction", "0.5", "--no-pin",
    )  # fmt: skip
    assert "2 variants with 10 nodes in all, 7 different ones" in out
    out = tubelet("diff", "first", "small_recipe@slic.num_segments=8", "--store", url)
    assert "3 artifacts in common" in out
    assert "(pinned)" in tubelet("runs", "--store", url)
    assert "2 unused" in tubelet("gc", "--store", url)
    assert "2 unused" in tubelet("gc", "--apply", "--store", url)
    assert "kept: 5 artifacts" in tubelet("gc", "--store", url)
    tubelet("unpin", "first", "--store", url)


def test_a_changed_byte_is_named_with_the_remedy(world: tuple[str, Path]) -> None:
    url, _ = world
    store = open_store(url)
    (key,) = store.keys("shard")
    path = store.file(key, "frames.arrow")
    assert path is not None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    (upload,) = (folder.name for folder in path.parent.parent.iterdir())
    tamper(store, f"{upload}/frames.arrow", bytes(content))
    out = tubelet("verify", "shard", "--store", url, fails=True)
    assert f"{url}/artifacts/shard/{key}: frames.arrow has sha256" in out
    assert f"tubelet run small_recipe --set 'folder.path=\"{world[1]}\"' --store {url}" in out
    tamper(store, f"{upload}/frames.arrow", path.read_bytes())
    assert "0 damaged" in tubelet("verify", "--store", url)


def test_rejected_videos_are_tried_again(world: tuple[str, Path]) -> None:
    store = open_store(world[0])
    before = objects(store, "artifacts/decode/")
    out = tubelet("quarantine", "retry", "small_recipe", "--store", world[0])
    assert "0 recovered, 1 still quarantined" in out
    after = objects(store, "artifacts/decode/")
    assert len(after) == len(before)
    assert len(set(after) & set(before)) == 1, "all is new but the name of the manifest"
    assert "0 damaged" in tubelet("verify", "--store", world[0])


def test_reports_are_served(world: tuple[str, Path]) -> None:
    store = open_store(world[0])
    *_, key = store.keys("report")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with server._reports(store, port):
        with urllib.request.urlopen(f"{base}/{key}/{REPORT_NAME}") as answer:
            assert answer.read() == (store.folder(key) / REPORT_NAME).read_bytes()
        shard = next(store.keys("shard"))
        for path in (f"{key}/../store.json", f"{shard}/frames.arrow", "", key, "report-0/x"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{base}/{path}")


def test_doctor_looks_at_the_bucket_and_the_scratch(
    world: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(find_store_problems(world[0])) == []
    assert list(find_clock_problems(world[0])) == []
    (found,) = find_store_problems("s3://no-such-bucket/x")
    assert "create the bucket" in found
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUBELET_SCRATCH", str(tmp_path / "file"))
    (found,) = find_store_problems(world[0])
    assert "set TUBELET_SCRATCH" in found
