"""Kinetics400: official lists, real videos in every layout, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import by_place

from pipeline.source import Listing
from stages.decode.decode import Decode
from stages.sources.kinetics400 import Kinetics400, read_lists
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
TRAIN = HEADER + (
    "abseiling,-3B32lodo2M,59,69,train,0\n"
    '"shaking hands, it\'s fun",_9xvAOzZv0o,7,17,train,0\n'
    '"making a ""cake""",0wR5jVB-WPk,417,427,train,1\n'
    "abseiling,gone_0_video,1,11,train,0\n"
)
VAL = HEADER + "abseiling,__aaaaaaaaa,0,10,validate,0\n"
TEST = "youtube_id,time_start,time_end,split\nhidden_label,3,13,test\n"
FILES = {
    "-3B32lodo2M_000059_000069": "train/abseiling",  # class folders,
    "_9xvAOzZv0o_000007_000017": "train/shaking_hands",
    "0wR5jVB-WPk_000417_000427": ".",  # flat,
    "__aaaaaaaaa_000000_000010": "val",  # split folders
}


@pytest.fixture
def root(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train.csv").write_text(TRAIN, encoding="utf-8-sig")
    (tmp_path / "annotations/val.csv").write_text(VAL)
    (tmp_path / "annotations/test.csv").write_text(TEST)
    for seed, (name, folder) in enumerate(FILES.items()):
        make_video(tmp_path / folder / f"{name}.mp4", seed=seed)
    return tmp_path


def scan(root: Path, **parameters: object) -> Listing:
    source = Kinetics400.model_validate({"path": root, **parameters})
    return source.scan(digest=by_place, dataset=None)


def test_ids_labels_splits_and_what_is_missing(root: Path) -> None:
    listing = scan(root)
    assert [video.video_id for video in listing.videos] == sorted(FILES)
    assert listing.labels == [
        LabelRow("-3B32lodo2M_000059_000069", "abseiling", "train"),
        LabelRow("0wR5jVB-WPk_000417_000427", 'making a "cake"', "train"),
        LabelRow("_9xvAOzZv0o_000007_000017", "shaking hands, it's fun", "train"),
        LabelRow("__aaaaaaaaa_000000_000010", "abseiling", "val"),
    ]
    assert listing.notes == [
        "train: 3 of 4 listed videos are there, 1 are missing: gone_0_video_000001_000011"
    ]


def test_its_files_decode(root: Path) -> None:
    frames = Decode().process(videos=scan(root).videos[0])
    assert (len(frames), frames.height, frames.width) == (12, 48, 64)


def test_where_a_file_lies_is_not_in_its_id(root: Path) -> None:
    before = scan(root)
    lying = root / "train/abseiling/-3B32lodo2M_000059_000069.mp4"
    lying.rename(root / lying.name)
    after = scan(root)
    assert [video.video_id for video in after.videos] == [v.video_id for v in before.videos]
    assert after.videos[0].path == root / lying.name


def test_splits_are_chosen(root: Path) -> None:
    listing = scan(root, splits=["val"])
    assert [row.split for row in listing.labels or ()] == ["val"]
    assert listing.notes == [
        "3 files are in no list that is used: -3B32lodo2M_000059_000069, "
        "0wR5jVB-WPk_000417_000427, _9xvAOzZv0o_000007_000017"
    ]
    assert LabelRow("hidden_label_000003_000013", "", "test") in read_lists(root)


def test_files_that_no_list_names_and_repeated_names_are_told(root: Path) -> None:
    for number in range(5):
        (root / f"extra{number}.webm").touch()
    (root / "val/-3B32lodo2M_000059_000069.mp4").touch()
    (root / "val/notes.txt").touch()
    listing = scan(root)
    assert listing.videos[0].path == root / "train/abseiling/-3B32lodo2M_000059_000069.mp4"
    assert listing.notes[1:] == [
        "5 files are in no list that is used: extra0, extra1, extra2, …",
        "1 files repeat a name and are not used: val/-3B32lodo2M_000059_000069.mp4",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("abseiling,x,1\n", r"train\.csv:2: 3 cells, the header has 6"),
        ("abseiling,x,1,11,trial,0\n", r"train\.csv:2: split 'trial' is not one of \['train'"),
        (",x,1,11,train,0\n", r"train\.csv:2: a video of train needs a label"),
        ("abseiling,x,one,11,train,0\n", r"train\.csv:2: 'x' at 'one', '11' seconds names no clip"),
        ("abseiling,,1,11,train,0\n", r"train\.csv:2: '' at '1', '11' seconds names no clip"),
        ("a,x,1,11,train,0\nb,x,1,11,train,0\n", r"csv:3: 'x_0.*' is listed as 'b' \(train\), and"),
        ('"a,x,1,11,train,0\n', r"train\.csv cannot be read: unexpected end of data"),
    ],
)
def test_bad_lists_name_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(HEADER + row)
    with pytest.raises(SourceError, match=message):
        read_lists(tmp_path)


def test_a_repeated_row_counts_once(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(HEADER + "a,x,1,11,train,0\n" * 2)
    assert read_lists(tmp_path) == [LabelRow("x_000001_000011", "a", "train")]


def test_a_folder_without_lists_or_clips_is_an_error(root: Path) -> None:
    (root / "val/__aaaaaaaaa_000000_000010.mp4").unlink()
    with pytest.raises(SourceError, match="holds none of the 1 clips that its lists name for val"):
        scan(root, splits=["val"])
    (root / "annotations/classes.csv").write_text("id,name\n")
    with pytest.raises(SourceError, match="column 'youtube_id' is missing among"):
        scan(root)
    with pytest.raises(SourceError, match=r"holds no list; put the official train\.csv"):
        scan(root / "val")
