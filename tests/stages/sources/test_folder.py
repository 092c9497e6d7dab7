"""Folder: what counts as a video, what is told, and what is an error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.found_file import FoundFile
from pipeline.source import Listing
from stages.sources.folder import Folder
from stages.sources.walk import VIDEO_EXTENSIONS
from storage_schemas.errors import SourceError


def digest(files: Sequence[FoundFile]) -> list[str]:
    return [file.content_sha256() for file in files]


def sha256_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def scan(path: Path) -> Listing:
    return Folder(path=path).scan(digest=digest, dataset=None)


def put(root: Path, *names: str) -> None:
    for name in names:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(name.encode())


def test_ids_are_sorted_relative_paths_and_carry_digest_and_size(tmp_path: Path) -> None:
    put(tmp_path, "b/z.mp4", "b/a.AVI", "a.webm", "b/c/d.mkv")
    listing = scan(tmp_path)
    assert [v.video_id for v in listing.videos] == ["a.webm", "b/a.AVI", "b/c/d.mkv", "b/z.mp4"]
    assert listing.videos[0].digest == sha256_of("a.webm")
    assert listing.videos[0].bytes == 6
    assert listing.videos[3].path == tmp_path / "b/z.mp4"
    assert listing.labels is None
    assert not listing.notes


@pytest.mark.parametrize(
    "name",
    ["two words.mp4", "#(1) & 2%03d.mp4", "видео 動画.mp4", "12:30.mp4", "-x.mp4", "a\nb.mp4"],
)
def test_awkward_names_are_kept(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    (video,) = scan(tmp_path).videos
    assert video.video_id == name
    assert video.path == tmp_path / name


def test_a_name_that_is_no_utf8_becomes_escapes(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (video,) = scan(tmp_path).videos
    assert video.video_id == "caf\\xe9.mp4"
    assert video.path is not None
    assert os.fsencode(video.path) == raw


def test_two_names_with_one_id_are_an_error(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"x")
    put(tmp_path, "caf\\xe9.mp4")
    with pytest.raises(SourceError, match="rename one"):
        scan(tmp_path)


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "x.csv", "x.txt", "y.TXT", "README", ".hidden.mp4", ".cache/b.mp4")
    listing = scan(tmp_path)
    assert [v.video_id for v in listing.videos] == ["a.mp4"]
    assert listing.notes == ["4 files ignored: .txt 2, no extension 1, .csv 1"]


def test_links_to_files_are_followed_and_broken_ones_listed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "real.mp4")
    root = tmp_path / "root"
    root.mkdir()
    (root / "good.mp4").symlink_to(tmp_path / "elsewhere/real.mp4")
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    by_id = {video.video_id: video for video in scan(root).videos}
    assert by_id["good.mp4"].digest == sha256_of("real.mp4")
    assert by_id["good.mp4"].bytes == 8
    assert by_id["gone.mp4"].digest == "unreadable: No such file or directory"
    assert by_id["gone.mp4"].bytes == 0


def test_linked_folders_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".hidden loop").symlink_to(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).symlink_to(tmp_path)
    listing = scan(tmp_path)
    assert [v.video_id for v in listing.videos] == ["a.mp4"]
    assert listing.notes == ["2 linked folders not followed: caf\\xe9, loop"]


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.mp4", "secret/b.mp4")
    list_folder = os.scandir

    def refuse(path: str) -> object:  # permissions do not bind root, who may run the tests
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = scan(tmp_path)
    assert [v.video_id for v in listing.videos] == ["a.mp4"]
    assert listing.notes == ["1 folders unreadable: secret"]


def test_unusable_folders_name_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere does not exist; .*--set folder\.path=DIR"):
        scan(tmp_path / "nowhere")
    put(tmp_path, "file.mp4")
    with pytest.raises(SourceError, match=r"file\.mp4 is a file; .*--set folder\.path=DIR"):
        scan(tmp_path / "file.mp4")
    put(tmp_path / "texts", "a.txt")
    with pytest.raises(SourceError, match=r"holds no video; 1 files ignored: \.txt 1.* \.mp4 "):
        scan(tmp_path / "texts")


def test_extensions_are_lower_case_and_leave_out_images_and_audio() -> None:
    assert all(e == e.lower() and e.startswith(".") for e in VIDEO_EXTENSIONS)
    assert not VIDEO_EXTENSIONS & {".mp3", ".wav", ".jpg", ".png", ".txt", ".zip"}
