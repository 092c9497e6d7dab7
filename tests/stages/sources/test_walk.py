"""One look at a tree: what is seen and in which order, on disk and in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import bucket, s3_server

from stages.sources.listed import find_videos
from stages.sources.walk import Walk, walk

NAMES = [
    "z.mp4", "a/z.mp4", "a/b/c.MKV", "a-b/x.mp4", "b.mp4", "a.b/c.d.mp4", "a/B.avi", "é/ü.webm",
    "a/notes.TXT", "README", "trailing.", ".hidden.mp4", ".cache/x.mp4", "a/.x/y.mp4", "a/mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("walk")
    for name in NAMES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


@pytest.fixture(scope="module")
def url(tree: Path) -> Iterator[str]:
    with s3_server():
        for name in NAMES:
            bucket().put_object(Key=f"tree/{name}", Body=name.encode())
        for name in ("a/", "x//double.mp4", "/leading.mp4", "../up.mp4"):  # no names of files
            bucket().put_object(Key=f"tree/{name}", Body=b"")
        yield "s3://videos/tree"


def seen(found: Walk) -> dict[str, int]:
    return {path: file.size for path, file in found.files.items()}


def test_files_stand_before_the_folders_beside_them(tree: Path) -> None:
    assert list(walk(tree).files) == [
        "b.mp4", "z.mp4", "a/B.avi", "a/z.mp4", "a/b/c.MKV", "a-b/x.mp4", "a.b/c.d.mp4", "é/ü.webm",
    ]  # fmt: skip


def test_a_bucket_is_seen_as_the_folder_that_it_was(tree: Path, url: str) -> None:
    there, here = walk(url), walk(tree)
    assert list(seen(there).items()) == list(seen(here).items())
    assert there.ignored == here.ignored == {".txt": 1, "": 3}
    assert there.notes() == here.notes()
    assert there.files["a/b/c.MKV"].place == f"{url}/a/b/c.MKV"


def test_of_files_with_one_name_the_first_is_taken(tree: Path) -> None:
    files, notes = find_videos(tree)
    assert files["z"].place == str(tree / "z.mp4")
    assert notes == ["1 files repeat a name and are not used: a/z.mp4"]


def test_a_relative_folder_gives_absolute_places(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "a")
    (file,) = walk(Path("b")).files.values()
    assert file.place == str(tree / "a/b/c.MKV")
    assert len(walk(Path()).files) == 3
