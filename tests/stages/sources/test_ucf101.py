"""Ucf101: official lists, their traps, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import by_place

from pipeline.source import Listing
from stages.sources.ucf101 import Ucf101, read_split
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

TRAIN = "Archery/v_Archery_g08_c01.avi 1\nHandstandPushups/v_HandStandPushups_g08_c01.avi 2\n"
TEST = "Archery/v_Archery_g01_c01.avi\n\nHandstandPushups/v_HandStandPushups_g01_c01.avi\n"
IDS = [
    "Archery/v_Archery_g01_c01.avi",
    "Archery/v_Archery_g08_c01.avi",
    "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    "HandstandPushups/v_HandStandPushups_g08_c01.avi",
]
COUNTS = [
    "train: 2 of 2 listed videos are there (the official list has 9537)",
    "test: 2 of 2 listed videos are there (the official list has 3783)",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 HandstandPushups\n")
    (lists / "trainlist01.txt").write_text(TRAIN)
    (lists / "testlist01.txt").write_text(TEST)
    for video_id in IDS:
        path = tmp_path / "UCF-101" / video_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(video_id.encode())
    return tmp_path


def scan(root: Path, split: int = 1) -> Listing:
    source = Ucf101.model_validate({"path": root, "split": split})
    return source.scan(digest=by_place, dataset=None)


def test_ids_labels_and_splits(root: Path) -> None:
    listing = scan(root)
    assert [video.video_id for video in listing.videos] == IDS
    assert listing.labels == [
        LabelRow(IDS[0], "Archery", "test"),
        LabelRow(IDS[1], "Archery", "train"),
        LabelRow(IDS[2], "HandstandPushups", "test"),
        LabelRow(IDS[3], "HandstandPushups", "train"),
    ]
    assert listing.videos[0].digest.endswith("/v_Archery_g01_c01.avi")
    assert listing.videos[0].bytes == len(IDS[0])
    assert listing.notes == COUNTS


def test_letter_case_on_disk_is_forgiven_and_the_id_is_the_list_s(root: Path) -> None:
    listed = root / "UCF-101" / IDS[2]
    listed.rename(listed.with_name("v_HandstandPushups_g01_c01.avi"))
    listing = scan(root)
    assert [video.video_id for video in listing.videos] == IDS
    assert listing.videos[2].path == listed.with_name("v_HandstandPushups_g01_c01.avi")
    assert listing.notes == COUNTS


def test_the_exact_spelling_wins_over_a_similar_one(root: Path) -> None:
    exact = root / "UCF-101" / IDS[0]
    exact.with_name("V_ARCHERY_G01_C01.AVI").write_bytes(b"another")
    listing = scan(root)
    assert listing.videos[0].path == exact
    assert listing.notes == [
        *COUNTS,
        "1 files are in no list that is used: Archery/V_ARCHERY_G01_C01.AVI",
    ]


def test_missing_and_extra_files_are_told(root: Path) -> None:
    (root / "UCF-101" / IDS[1]).unlink()
    (root / "UCF-101/Archery/notes.txt").write_text("x")
    listing = scan(root)
    assert [video.video_id for video in listing.videos] == [IDS[0], *IDS[2:]]
    assert listing.labels is not None
    assert len(listing.labels) == 3
    assert listing.notes == [
        "train: 1 of 2 listed videos are there (the official list has 9537), 1 are missing: "
        + IDS[1],
        COUNTS[1],
        "1 files are in no list that is used: Archery/notes.txt",
    ]


def test_a_broken_link_is_listed(root: Path) -> None:
    path = root / "UCF-101" / IDS[0]
    path.unlink()
    path.symlink_to(root / "nowhere")
    listing = scan(root)
    assert listing.videos[0].video_id == IDS[0]
    assert listing.videos[0].bytes == 0


def test_any_container_that_the_lists_name(root: Path) -> None:
    lists = root / "ucfTrainTestlist"
    (lists / "testlist01.txt").write_text("Archery/v_Archery_g01_c01.mp4\r\n")
    (root / "UCF-101" / IDS[0]).rename(root / "UCF-101/Archery/v_Archery_g01_c01.mp4")
    assert LabelRow("Archery/v_Archery_g01_c01.mp4", "Archery", "test") in (scan(root).labels or ())


@pytest.mark.parametrize(
    ("test_list", "message"),
    [
        ("Archery\n", r"testlist01\.txt:1: 'Archery' is not '<Class>/<file> \[number\]'"),
        (TRAIN, r"testlist01\.txt:1: 'Archery/v_Archery_g08_c01\.avi' is listed twice"),
        (b"\xff\xfe\x00", r"testlist01\.txt cannot be read"),
    ],
)
def test_bad_lists_name_file_and_line(root: Path, test_list: str | bytes, message: str) -> None:
    path = root / "ucfTrainTestlist/testlist01.txt"
    path.write_bytes(test_list if isinstance(test_list, bytes) else test_list.encode())
    with pytest.raises(SourceError, match=message):
        read_split(path.parent, 1)


def test_missing_lists_and_missing_videos_are_errors(root: Path) -> None:
    with pytest.raises(SourceError, match=r"trainlist02\.txt cannot be read \(No such file"):
        scan(root, split=2)
    (root / "UCF-101").rename(root / "videos")
    with pytest.raises(SourceError, match="holds none of the 4 videos of split 1"):
        scan(root)
