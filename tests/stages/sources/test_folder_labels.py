"""Classes of a user's own videos."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import by_place
from pydantic import ValidationError

from pipeline.source import Listing
from stages.sources.folder import Folder
from stages.sources.folder_labels import drawn_split, from_csv, from_folders
from storage_schemas.errors import SourceError

NAMES = ["run/a.mp4", "run/x/b.mp4", "walk/c.mp4"]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "videos"


def scan(path: Path, **labels: object) -> Listing:
    return Folder(path=path, **labels).scan(digest=by_place, dataset=None)  # type: ignore[arg-type]


def test_a_folder_has_no_labels_unless_it_is_told(videos: Path) -> None:
    assert scan(videos).labels is None


def test_the_first_folder_is_the_class(videos: Path) -> None:
    rows = scan(videos, labels="folders", test_share=0).labels
    assert rows is not None
    assert [(row.video_id, row.label, row.split) for row in rows] == [
        ("run/a.mp4", "run", "train"),
        ("run/x/b.mp4", "run", "train"),
        ("walk/c.mp4", "walk", "train"),
    ]
    with pytest.raises(SourceError, match=r"1 videos lie in no class folder.*'d.mp4'"):
        from_folders([*NAMES, "d.mp4"], test_share=0)


def test_a_class_that_the_test_lacks_is_told(videos: Path) -> None:
    (note,) = scan(videos, labels="folders", test_share=0).notes
    assert note.startswith(
        "2 of 2 classes have no test video, such as 'run': change folder.test_sh"
    )
    assert not [n for n in scan(videos).notes if "classes" in n]


def test_a_table_names_classes_and_splits(videos: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "\ufefflabel,video_id,split,note\nfast,run/a.mp4,test,x\nslow, walk/c.mp4 ,,y\n"
    )
    rows = scan(videos, labels=table, test_share=1.0).labels
    assert rows is not None
    assert [(row.video_id, row.label, row.split) for row in rows] == [
        ("run/a.mp4", "fast", "test"), ("run/x/b.mp4", "", "train"), ("walk/c.mp4", "slow", "test"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,class\na,b\n", "has the columns video, class; it needs video_id and label"),
        ("", "has the columns none"),
        ("video_id,label\nrun/a.mp4,x\nrun/a.mp4,y\n", ":3: 'run/a.mp4' is listed twice"),
        ("video_id,label,split\nrun/a.mp4,x,dev\n", ":2: split 'dev' is not one of"),
        ("video_id,label\na.mp4,x\n", "names none of the 3 videos; its first is 'a.mp4'"),
    ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(SourceError, match=message):
        from_csv(table, NAMES, test_share=0.2)


def test_a_mistyped_word_is_taken_for_a_file_that_is_not_there(videos: Path) -> None:
    with pytest.raises(SourceError, match=r"folder cannot be read .*none, folders or the path"):
        scan(videos, labels="folder")
    with pytest.raises(ValidationError):
        Folder(test_share=1.5)


def test_the_share_holds_and_nobody_moves_when_videos_come() -> None:
    ids = [f"class/{i}.mp4" for i in range(4000)]
    tested = {i for i in ids if drawn_split(i, test_share=0.2) == "test"}
    assert len(tested) == pytest.approx(800, abs=80)  # three standard deviations
    more = {i for i in ids if drawn_split(i, test_share=0.5) == "test"}
    assert tested < more
