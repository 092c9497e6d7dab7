"""What the files of boxes mean, in exact numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.detect.box_files import Placed, at_stored_frames, read_box_file
from stages.detect.detector import Detections
from storage_schemas.boxes import Boxes
from storage_schemas.errors import SchemaError


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text(text)
    return path


def test_detections_of_ava(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "def,0904\n"
        "abc,903.5,0.25,0.25,0.5,0.5,,0.25\n"
        "abc,0902,0.1,0.2,0.5,0.75,12,0.875\n"
        "\n"
        "abc,0902,0,0,1,1,,0.5\n"
        "def,904.5\n",
    )
    file = read_box_file(path, csv_rows="detections")
    assert file.timed
    assert file.names == ["12", "person"]
    assert {v: list(times) for v, times in file.videos.items()} == {
        "abc": [902.0, 903.5],
        "def": [904.0, 904.5],
    }
    assert len(file.videos) == 2
    assert "ghi" not in file.videos
    found = file.videos["abc"][902.0].scaled(height=40, width=80)
    np.testing.assert_allclose(found.xyxy, [[8, 8, 40, 30], [0, 0, 80, 40]], rtol=1e-6)
    assert found.xyxy.dtype == found.scores.dtype == np.float32
    assert found.scores.tolist() == [0.875, 0.5]
    assert found.labels == ["12", "person"]
    assert file.videos["abc"][903.5].detections.labels == ["person"]
    assert file.videos["def"][904.0].detections.xyxy.shape == (0, 4)


def test_detections_without_labels(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "b,1,0,0,1,1,0.5\na,2,0,0,1,1,0.25\nb,0,0,0,0.5,1,1\n")
    file = read_box_file(path, csv_rows="detections")
    assert file.names == ["person"]
    assert list(file.videos["b"]) == [0, 1]
    assert file.videos["b"][0].detections.scores.tolist() == [1]
    assert file.videos["a"][2].detections.labels == ["person"]


def test_times_alone(tmp_path: Path) -> None:
    file = read_box_file(csv_file(tmp_path, "a,1\na,2\n"), csv_rows="detections")
    assert list(file.videos["a"]) == [1, 2]
    assert file.names == []


@pytest.mark.parametrize("person", ["", ",3"])  # AVA-Kinetics has none
def test_annotations_of_ava(tmp_path: Path, person: str) -> None:
    path = csv_file(
        tmp_path,
        f"abc,902,0,0,0.5,0.5,12{person}\nabc,902,0,0,0.5,0.5,80{person}\nabc,903\n",
    )
    file = read_box_file(path, csv_rows="annotations")
    found = file.videos["abc"][902.0].detections
    assert found.labels == ["12", "80"]
    assert found.scores.tolist() == [1, 1]
    assert found.xyxy.tolist() == [[0, 0, 0.5, 0.5]] * 2
    assert file.names == ["12", "80"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc,902,0,0,1\n", "a row has 5 fields, not 2, 7 or 8"),
        ("abc,902,0,0,1,1,0.5\nabc,902,0,0,1\n", "Row #2: Expected 7 columns, got 5: abc,902"),
        ("abc,902\nabc,soon\n", "could not convert string to float: 'soon'"),
        ("abc,902,0,0,x,1,1,0.5\n", "Row #1: CSV conversion error to float: invalid value 'x'"),
        ("abc,902,0,0,64,48,0.5\n", "is not in fractions of the frame, 0 to 1"),
        ("abc,902,0,nan,1,1,0.5\n", "is not in fractions of the frame, 0 to 1"),
        (
            "abc,902,0,0,1,1,12,7\n",
            "at 902 s: the last field 7 is no score .* set csv_rows=annotations",
        ),
        (
            "abc,902,0,0,1,1,0.5,me\n",
            "Row #1: CSV conversion error to float: invalid value 'me'",
        ),
        ("\xff\xfe", "is neither COCO JSON, nor Arrow, nor CSV"),
        ("nothing at all\n", "a row has 1 fields, not 2, 7 or 8"),
    ],
)
def test_a_wrong_csv_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=message) as error:
        read_box_file(path, csv_rows="detections")
    assert str(path) in str(error.value)


def placed(score: float) -> Placed:
    return Placed(Detections(np.zeros((1, 4), np.float32), np.array([score], np.float32), ["a"]))


@pytest.mark.parametrize(
    ("pts", "start", "expected"),
    [
        # Times 900 to 904 s of the file's clock, a box of score 0 to 4 each.
        (np.arange(5.0), 900, {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}),
        (np.arange(5.0), 898, {2: 0, 3: 1, 4: 2}),  # 905 and 906 s are outside
        (np.arange(5.0) + 0.4, 900, {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}),  # nearest, not next
        (np.arange(5.0) - 0.4, 900, {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}),
        (np.arange(200) / 25, 900, {0: 0, 25: 1, 50: 2, 75: 3, 100: 4}),
        (np.array([0.0, 0.1, 0.9, 2.6, 2.7, 3.3]), 900, {0: 0, 2: 1, 3: 2, 4: 3, 5: 4}),
        (np.array([0.0, 2.0, 4.0]), 900, {0: 0, 1: 2, 2: 4}),  # two times share a frame
        (np.array([3.0]), 900, {0: 3}),
        (np.arange(5.0), 0, {}),
    ],
)  # fmt: skip
def test_times_become_stored_frames(pts: Any, start: float, expected: dict[int, int]) -> None:
    timed = {900.0 + t: placed(t) for t in range(5)}
    found = at_stored_frames(timed, pts, start_seconds=start)
    assert {t: int(one.detections.scores[0]) for t, one in found.items()} == expected
    assert list(found) == sorted(found)


def boxes(video_id: str, label: Any) -> Boxes:
    return Boxes(
        video_id=video_id,
        num_frames=9,
        height=40,
        width=80,
        frame=np.array([2, 2, 5], np.int32),
        xyxy=np.array([[0, 0, 8, 8], [1, 1, 9, 9], [2, 2, 7, 7]], np.float32),
        score=np.array([0.5, 0.25, 1.0], np.float32) if label else None,
        label=label,
    )


def test_our_own_table(tmp_path: Path) -> None:
    parts = [boxes("d/a.mp4", ["dog", "cat", "dog"]), boxes("b.mp4", None)]
    Boxes.write_part(tmp_path, {one.video_id: one.to_tables() for one in parts})
    file = read_box_file(tmp_path / "boxes.arrow", csv_rows="detections")
    assert not file.timed
    assert file.names == ["cat", "dog", "object"]
    assert set(file.videos) == {"d/a.mp4", "b.mp4"}
    assert len(file.videos) == 2
    detected = file.videos["d/a.mp4"]
    assert set(detected) == {2, 5}
    assert detected[2].detections.xyxy.tolist() == [[0, 0, 8, 8], [1, 1, 9, 9]]
    assert detected[2].detections.scores.tolist() == [0.5, 0.25]
    assert detected[2].detections.labels == ["dog", "cat"]
    assert detected[5].detections.labels == ["dog"]
    tubes = file.videos["b.mp4"][2].detections
    assert tubes.scores.tolist() == [1, 1]
    assert tubes.labels == ["object", "object"]


def test_another_table_is_told(tmp_path: Path) -> None:
    one = boxes("a.mp4", None)
    Boxes.write_part(tmp_path, {"a.mp4": one.to_tables()})
    with pytest.raises(SchemaError, match=r"holds 'boxes\.videos', expected 'boxes\.boxes'"):
        read_box_file(tmp_path / "videos.arrow", csv_rows="detections")
