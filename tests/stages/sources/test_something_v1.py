"""SomethingV1: folders of frames, classes with commas, tests without classes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.digests import Digests
from pipeline.source import Listing
from stages.decode.decode import Decode
from stages.sources.something_v1 import SomethingV1
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow, Labels

FLAT = "Rolling something, it stays flat"
RIGHT = "Turning the camera right while filming something"
PREFIX = "something-something-v1-"
LISTS = {
    "labels": f"Holding something\n{FLAT}\n{RIGHT}\n",
    "train": f"100218;{FLAT}\n24413;{RIGHT}\n5;Holding something\n",
    "validation": "7;Holding something\n",
    "test": "8\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in LISTS.items():
        (tmp_path / f"{PREFIX}{name}.csv").write_text(text)
    rng = np.random.default_rng(0)
    for video_id in ("100218", "24413", "7", "8"):
        folder = tmp_path / "20bn-something-something-v1" / video_id
        folder.mkdir(parents=True)
        for number in range(1, 6):
            image = rng.integers(0, 255, (50, 88, 3), np.uint8)
            assert cv2.imwrite(str(folder / f"{number:05d}.jpg"), image)
    return tmp_path


def scan(root: Path, **parameters: object) -> Listing:
    source = SomethingV1.model_validate({"path": root, **parameters})
    digests = Digests(root / "digests.sqlite")
    try:
        return source.scan(digest=digests, dataset=None)
    finally:
        digests.close()


def test_ids_labels_and_counts(root: Path) -> None:
    listing = scan(root)
    assert listing.labels == [
        LabelRow("100218", FLAT, "train"),
        LabelRow("24413", RIGHT, "train"),
        LabelRow("7", "Holding something", "val"),
    ]
    assert listing.notes == [
        "train: 2 of 3 listed videos are there (the official list has 86017), 1 are missing: 5",
        "val: 1 of 1 listed videos are there (the official list has 11522)",
        "1 files are in no list that is used: 8",
    ]
    assert Labels(listing.labels).handed == []  # the other camera class is not here
    assert len({video.digest for video in listing.videos}) == 3
    first = listing.videos[0]
    assert first.path is not None
    assert first.bytes == sum(image.stat().st_size for image in first.path.iterdir())


def test_frames_are_stored_untouched_at_12_a_second(root: Path) -> None:
    video = scan(root).videos[1]
    frames = Decode().process(videos=video)
    assert video.path is not None
    assert frames.jpegs[4] == (video.path / "00005.jpg").read_bytes()
    assert frames.pts_seconds[4] == pytest.approx(4 / 12)
    assert (frames.height, frames.width) == (50, 88)


def test_test_videos_have_no_class(root: Path) -> None:
    assert scan(root, splits=["test"]).labels == [LabelRow("8", "", "test")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1;Holding nothing\n", "train.csv:1: 'Holding nothing' of video 1 is not in the labels'"),
        ("1\n", r"train.csv:1: \['1'\] is not <id>;<class>"),
        ("one;Holding something\n", "is not <id>;<class>"),
        ("7;Holding something\n", r"'7' is listed as .* \(val\), and before as .* \(train\)"),
    ],
)
def test_bad_lists_name_file_and_line(root: Path, text: str, message: str) -> None:
    (root / f"{PREFIX}train.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        scan(root)


def test_missing_lists_and_frames_are_errors(root: Path) -> None:
    (root / "20bn-something-something-v1").rename(root / "frames")
    with pytest.raises(SourceError, match="holds none of the 4 videos that the lists name"):
        scan(root)
    (root / f"{PREFIX}labels.csv").unlink()
    with pytest.raises(SourceError, match=r"holds no something-something-v1-labels\.csv"):
        scan(root)
