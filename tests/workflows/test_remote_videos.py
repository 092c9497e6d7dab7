"""Real clips in a bucket of a real S3 API: the artifacts of a folder, under the same keys."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import tubelet
from pydantic import ValidationError
from s3_server import bucket, refuse, s3_server

from pipeline.store import Store
from stages.sources.folder import Folder
from stages.sources.ucf101 import Ucf101
from storage_schemas.errors import SourceError

CLIPS = Path(__file__).parents[2] / "assets" / "clips"
URL = "s3://videos/my clips"
RUN = ["run", "small_recipe", "--no-prefect", "--workers", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name in ("walk/walker_a.mp4", "walk/walker_b.mp4", "cup.mp4"):
        target = root / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(CLIPS / target.name, target)
    (root / "empty.mp4").touch()
    (root / "notes.txt").write_text("ignored")
    return root


@pytest.fixture(scope="module", autouse=True)
def server(folder: Path) -> Iterator[str]:
    with s3_server() as url:
        for path in folder.rglob("*.*"):
            bucket().upload_file(str(path), f"my clips/{path.relative_to(folder)}")
        yield url


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was filled from the bucket."""
    root = tmp_path_factory.mktemp("remote") / "store"
    out = tubelet(*RUN, "--data", URL, "--store", root, "--max-failed-fraction", "0.5")
    assert "folder: 1 files ignored: .txt 1" in out
    assert "1 video quarantined" in out
    return root


def keys(store: Path) -> set[str]:
    return {key for key in Store(store).keys() if not key.startswith("report")}  # noqa: SIM118


def test_a_folder_that_moves_to_a_bucket_keeps_its_keys(
    store: Path, folder: Path, tmp_path: Path
) -> None:
    decoded = next(key for key in keys(store) if key.startswith("decode"))
    assert f"{URL}/cup.mp4" in tubelet("why", decoded, "--store", store)
    options = ["--max-failed-fraction", "0.5"]
    again = tubelet(*RUN, "--data", folder, "--store", store, *options)
    assert re.search(r"^0 computed, 5 cached, 1 video ", again, re.M), again
    again = tubelet(*RUN, "--set", f"folder.path={URL}/", "--store", store, *options)
    assert re.search(r"^0 computed, 5 cached, 1 video ", again, re.M), again
    tubelet(*RUN, "--data", folder, "--store", tmp_path / "local", *options)
    assert keys(tmp_path / "local") == keys(store)
    for key in keys(store):
        one, other = (Store(root).read_manifest(key) for root in (store, tmp_path / "local"))
        assert {n: f.sha256 for n, f in one.files.items()} == {
            n: f.sha256 for n, f in other.files.items()
        }, key


def test_nothing_that_was_fetched_is_left(store: Path) -> None:
    assert not list((store / "staging").rglob("*.mp4"))
    assert not list((store / "artifacts").rglob("*.mp4"))


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """``between(happens)``: something happens after the plan and before the run."""
    from workflows import cli

    start = cli.start

    def arrange(happens: Callable[[], None]) -> None:
        def started(*arguments: Any, **options: Any) -> Any:
            planned = start(*arguments, **options)
            happens()
            monkeypatch.undo()
            return planned

        monkeypatch.setattr(cli, "start", started)

    return arrange


def test_an_object_that_goes_before_it_is_read_is_quarantined(tmp_path: Path, between: Any) -> None:
    for name in ("cup.mp4", "plant.mp4"):
        bucket().upload_file(str(CLIPS / name), f"gone/{name}")
    between(lambda: bucket().Object("gone/cup.mp4").delete())
    out = tubelet(*RUN, "--data", "s3://videos/gone", "--store", tmp_path, fails=True)
    assert "s3://videos/gone/cup.mp4 is gone" in out
    store = Store(tmp_path)
    (decoded,) = map(store.read_manifest, store.keys("decode"))
    assert decoded.items == ["plant.mp4"]
    assert [row.video_id for row in decoded.quarantined] == ["cup.mp4"]


def test_a_worker_that_may_not_read_stops_and_blames_no_video(
    tmp_path: Path, between: Any, server: str
) -> None:
    between(lambda: refuse(server, True))
    try:
        out = tubelet(*RUN, "--data", URL, "--store", tmp_path, fails=True)
    finally:
        refuse(server, False)
    assert re.search(r"error: s3://videos/my clips/\S+ may not be read .* AWS_PROFILE", out), out
    assert not list(Store(tmp_path).keys("decode"))
    again = tubelet(*RUN, "--data", URL, "--store", tmp_path, "--max-failed-fraction", "0.5")
    assert "5 computed, 0 cached, 1 video quarantined" in again or "4 computed, 1 cached" in again


def test_classes_come_from_folders_or_from_a_table_beside_them() -> None:
    def labels(**parameters: Any) -> dict[str, tuple[str, str]]:
        source = Folder.model_validate({"path": f"{URL}/walk", "test_share": 0, **parameters})
        rows = source.scan(digest=lambda files: [""] * len(files), dataset=None).labels
        return {row.video_id: (row.label, row.split) for row in rows or ()}

    table = "video_id,label,split\nwalker_a.mp4,one,test\nwalker_b.mp4,two,\n"
    bucket().put_object(Key="tables/labels.csv", Body=f"\ufeff{table}".encode())
    told = {"walker_a.mp4": ("one", "test"), "walker_b.mp4": ("two", "train")}
    assert labels(labels="s3://videos/tables/labels.csv") == told
    found = labels(path="s3://videos", labels="folders")
    assert found["my clips/cup.mp4"] == ("my clips", "train")
    with pytest.raises(SourceError, match=r"^s3://videos/none\.csv cannot be read"):
        labels(labels="s3://videos/none.csv")


def test_a_place_is_a_path_or_a_url() -> None:
    assert Folder.model_validate({"path": "~/videos"}).path == Path("~/videos")
    source = Folder.model_validate({"path": "s3://b//x/"})
    assert source.path == "s3://b//x/"
    assert Folder.model_validate(source.model_dump(mode="json")) == source
    with pytest.raises(ValidationError, match="reads folders only"):
        Ucf101.model_validate({"path": "s3://b/x"})
