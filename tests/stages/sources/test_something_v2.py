"""SomethingV2: brackets, two spellings of the lists' names, tests without classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import by_place

from pipeline.source import Listing
from stages.decode.decode import Decode
from stages.sources.something_v2 import SomethingV2
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow, Labels

LEFT = "Pulling something from left to right"
RIGHT = "Pulling something from right to left"
LABELS = {
    "Putting something on something": "0",
    LEFT: "1",
    RIGHT: "2",
    "Pushing something so that it slightly moves": "3",
}
TRAIN = [
    {
        "id": "78687",
        "label": "putting a cup on a table",
        "template": "Putting [something] on [something]",
        "placeholders": ["a cup", "a table"],
    },
    {"id": "100904", "template": "Pulling [something] from left to right"},
    {"id": "9", "template": "Pulling [something] from right to left"},
]
VALIDATION = [{"id": "74225", "template": "Pulling [something] from right to left"}]
TEST = [{"id": "1420"}, {"id": "60"}]
FILES = ["78687.webm", "100904.webm", "74225.mp4", "1420.webm", "60.webm"]


@pytest.fixture(params=["", "something-something-v2-"])
def root(request: pytest.FixtureRequest, tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    folder = tmp_path / ("labels" if not request.param else ".")
    folder.mkdir(exist_ok=True)
    lists = {"labels": LABELS, "train": TRAIN, "validation": VALIDATION, "test": TEST}
    for name, content in lists.items():
        (folder / f"{request.param}{name}.json").write_text(json.dumps(content))
    videos = tmp_path / "20bn-something-something-v2"
    videos.mkdir()
    mkv = make_video(tmp_path / "one.mkv")  # WebM is a kind of Matroska, told by content
    for name in FILES:
        (videos / name).write_bytes(mkv.read_bytes())
    mkv.unlink()
    return tmp_path


def scan(root: Path, **parameters: object) -> Listing:
    source = SomethingV2.model_validate({"path": root, **parameters})
    return source.scan(digest=by_place, dataset=None)


def test_ids_classes_without_brackets_and_counts(root: Path) -> None:
    listing = scan(root)
    assert listing.labels == [
        LabelRow("100904", LEFT, "train"),
        LabelRow("74225", RIGHT, "val"),
        LabelRow("78687", "Putting something on something", "train"),
    ]
    assert listing.notes == [
        "train: 2 of 3 listed videos are there (the official list has 168913), 1 are missing: 9",
        "val: 1 of 1 listed videos are there (the official list has 24777)",
        "2 files are in no list that is used: 1420, 60",
    ]
    assert len(Decode().process(videos=listing.videos[0])) == 12


def test_classes_tell_that_a_flip_changes_them(root: Path) -> None:
    assert Labels(scan(root).labels or ()).handed == [LEFT, RIGHT]


def test_a_test_video_has_a_class_only_with_the_answers(root: Path) -> None:
    listing = scan(root, splits=["test"])
    assert [(r.video_id, r.label) for r in listing.labels or ()] == [("1420", ""), ("60", "")]
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels/test-answers.csv").write_text(f"1420;{RIGHT}\n60;{LEFT}\n")
    listing = scan(root, splits=["test"])
    assert [row.label for row in listing.labels or ()] == [RIGHT, LEFT]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train", [{"id": "1", "template": "Moving [x]"}], "entry 1: 'Moving x' of video 1 is not"),
        ("train", [{"template": "Moving"}], "is not a list of {id, template}: KeyError 'id'"),
        ("train", {"a": 1}, "is not a list of {id, template}: TypeError"),
        ("validation", TRAIN[:1], r"'78687' is listed as .* \(val\), and before as .* \(train\)"),
        ("labels", [1], "is not a mapping of templates to numbers"),
    ],
)
def test_bad_lists_name_file_and_entry(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    for one, right in {"labels": LABELS, "train": TRAIN, "validation": VALIDATION}.items():
        given = content if one == name else right
        (tmp_path / f"{one}.json").write_text(json.dumps(given))
    with pytest.raises(SourceError, match=message):
        scan(tmp_path)


def test_missing_lists_and_videos_are_errors(root: Path) -> None:
    empty = root / "empty"
    empty.mkdir()
    for video in (root / "20bn-something-something-v2").iterdir():
        video.unlink()
    with pytest.raises(SourceError, match="none of the 4 videos that its lists name for train"):
        scan(root)
    with pytest.raises(SourceError, match=r"neither labels\.json nor something-something-v2-lab"):
        scan(empty)
