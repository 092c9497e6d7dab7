"""Labels: sorted, one a video, known splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.labels import LabelRow, Labels, mirrored


def test_round_trip_is_sorted(tmp_path: Path) -> None:
    rows = [LabelRow("é #2.avi", "Run & jump", "test"), LabelRow("a.avi", "Bike", "train")]
    labels = Labels(rows)
    labels.write(tmp_path)
    assert Labels.open(tmp_path) == labels == Labels(rows[::-1])
    assert [row.video_id for row in labels.rows] == ["a.avi", "é #2.avi"]
    assert labels.classes == ["Bike", "Run & jump"]
    assert repr(labels) == "Labels(2 videos, 2 classes)"


def test_no_labels(tmp_path: Path) -> None:
    Labels([]).write(tmp_path)
    assert Labels.open(tmp_path).rows == ()


def test_two_labels_of_one_video() -> None:
    rows = [LabelRow("a", "x", "train"), LabelRow("b", "x", "train"), LabelRow("a", "y", "test")]
    with pytest.raises(SchemaError, match="videos with two labels: 1, the first is 'a'"):
        Labels(rows)


def test_an_unknown_split_names_the_choices() -> None:
    with pytest.raises(SchemaError, match=r"'valid' is not one of \('train', 'val', 'test'\)"):
        Labels([LabelRow("a", "x", "valid")])


def test_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(Labels, "version", 2)
        Labels([]).write(tmp_path)
    with pytest.raises(SchemaError, match="labels version 2 was written by a newer tubelet"):
        Labels.open(tmp_path)


@pytest.mark.parametrize(
    ("label", "other"),
    [
        (
            "Pulling something from left to right",
            "Pulling something from right to left",
        ),
        (
            "Turning the camera left while filming something",
            "Turning the camera right while filming something",
        ),
        ("MoveRight", "MoveLeft"),
        ("TurnLeft", "TurnRight"),
        ("turn_left", "turn_right"),
        ("Copyright", "Copyright"),
        ("brightening leftovers", "brightening leftovers"),
        ("playing upright bass", "playing upright bass"),
    ],
)
def test_left_and_right_change_places_in_a_mirror(label: str, other: str) -> None:
    assert mirrored(label) == other
    assert mirrored(other) == label


def test_handed_classes_come_in_pairs() -> None:
    pair = ["Pulling something from left to right", "Pulling something from right to left"]
    alone = ["Holding something", "Plugging something in but pulling it right out", "turn_left"]
    labels = Labels([LabelRow(label, label, "train") for label in (*pair, *alone)])
    assert labels.handed == pair
    assert Labels([LabelRow(label, label, "train") for label in alone]).handed == []


def test_an_unpublished_class_is_no_class() -> None:
    assert Labels([LabelRow("a", "x", "train"), LabelRow("b", "", "test")]).classes == ["x"]
