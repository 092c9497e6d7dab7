"""VggSound: the official list, real videos, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import by_place

from pipeline.source import Listing
from stages.decode.decode import Decode
from stages.sources.vggsound import VggSound, read_list
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

LIST = (
    '---g-f_I2yQ,1,"people marching",test\n'
    '--0PQM4-hqg,30,"waterfall, burbling",train\n'
    '__gone__0ab,110,"dog ""barking""",train\n'
    "_0m_bDxKLBc,0,people marching,train\n"
)
IDS = ["---g-f_I2yQ_000001", "--0PQM4-hqg_000030", "_0m_bDxKLBc_000000"]


@pytest.fixture
def root(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    (tmp_path / "vggsound.csv").write_text(LIST)
    for seed, (name, folder) in enumerate(zip(IDS, ("", "video", "video/a"), strict=True)):
        make_video(tmp_path / folder / f"{name}.mp4", seed=seed)
    return tmp_path


def scan(root: Path) -> Listing:
    return VggSound(path=root).scan(digest=by_place, dataset=None)


def test_ids_labels_splits_and_what_is_missing(root: Path) -> None:
    listing = scan(root)
    assert [video.video_id for video in listing.videos] == IDS
    assert listing.labels == [
        LabelRow(IDS[0], "people marching", "test"),
        LabelRow(IDS[1], "waterfall, burbling", "train"),
        LabelRow(IDS[2], "people marching", "train"),
    ]
    assert listing.notes == [
        "train: 2 of 3 listed videos are there, 1 are missing: __gone__0ab_000110"
    ]
    assert len(Decode().process(videos=listing.videos[0])) == 12


def test_files_that_the_list_does_not_name_are_told(root: Path) -> None:
    (root / "video/---g-f_I2yQ_000011.mp4").touch()
    assert scan(root).notes[-1] == "1 files are in no list that is used: ---g-f_I2yQ_000011"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"vggsound\.csv is empty"),
        ("x,1,dog\n", r"vggsound\.csv:1: .* is not youtube_id,start,label,train\|test"),
        ("x,1,dog,val\n", r"vggsound\.csv:1: .* is not youtube_id,start,label,train\|test"),
        ("\nx,,dog,test\n", r"vggsound\.csv:2: 'x' at '' seconds names no clip"),
        ("x,1,dog,test\nx,1,dog,train\n", r"vggsound\.csv:2: 'x_000001' is listed as 'dog' \(tr"),
    ],
)
def test_bad_lists_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "vggsound.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_list(tmp_path / "vggsound.csv")


def test_a_missing_list_and_missing_clips_are_errors(root: Path) -> None:
    with pytest.raises(SourceError, match=r"vggsound\.csv cannot be read"):
        scan(root / "video")
    for name in IDS:
        next(root.rglob(f"{name}.mp4")).unlink()
    with pytest.raises(SourceError, match="holds none of the 4 clips"):
        scan(root)
