"""Boxes and run-length masks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from storage_schemas.boxes import Boxes, decode_mask, encode_mask
from storage_schemas.errors import SchemaError


def boxes(video_id: str = "a.mp4", **changes: Any) -> Boxes:
    values: dict[str, Any] = {
        "video_id": video_id, "num_frames": 4, "height": 6, "width": 8,
        "frame": np.array([0, 2, 2], np.int32),
        "xyxy": np.array([(0, 0, 8, 6), (1.5, 2, 3, 4), (0, 5, 1, 6)], np.float32),
    }  # fmt: skip
    return Boxes(**(values | changes))


FULL: dict[str, Any] = {
    "score": np.array([0.25, 1, 0], np.float32),
    "track": np.array([7, 7, -1], np.int32),
    "region": np.array([0, 3, 20_004], np.int32),
    "label": ["person", "dog", ""],
    "mask_runs": [encode_mask(np.eye(6, 8, k, dtype=bool)) for k in range(3)],
}
NONE = Boxes("none.mp4", 4, 6, 8)


def same(one: Boxes, other: Boxes) -> None:
    for field in fields(Boxes):
        found, expected = getattr(one, field.name), getattr(other, field.name)
        if field.name == "mask_runs" and expected is not None:
            assert [list(runs) for runs in found] == [list(runs) for runs in expected]
        elif isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            assert (found == expected).all()
        else:
            assert found == expected


def test_round_trip_of_every_column_and_of_videos_without_boxes(tmp_path: Path) -> None:
    videos = {
        "full.mp4": boxes("full.mp4", **FULL),
        "none.mp4": NONE,
        "plain.mp4": boxes("plain.mp4"),
        **{name: boxes(name, **{name: column}) for name, column in FULL.items()},
    }
    tables = {video_id: video.to_tables() for video_id, video in videos.items()}
    assert Boxes.write_part(tmp_path, tables) == {
        "boxes.arrow": 3 * (len(videos) - 1), "videos.arrow": len(videos),
    }  # fmt: skip
    part = Boxes.open_part(tmp_path)
    assert list(part) == list(videos)
    for video_id, video in videos.items():
        same(part[video_id], video)
    assert len(part["none.mp4"]) == 0
    assert part["none.mp4"].num_frames == 4


def test_rows_of_a_frame() -> None:
    found = boxes()
    assert [found.in_frame(t) for t in range(4)] == [
        slice(0, 1), slice(1, 1), slice(1, 3), slice(3, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("xyxy", "message"),
    [
        ((0, 0, 8.5, 6), r"1 boxes .* 8x6 frame, the first is \[0\.0, 0\.0, 8\.5, 6\.0\]"),
        ((0, 0, 8, 7), "8x6 frame"),
        ((-0.5, 0, 8, 6), r"-0\.5"),
        ((2, 0, 2, 6), "empty"),
        ((0, 4, 8, 3), "empty"),
        ((0, 0, np.nan, 6), "nan"),
        ((0, 0, np.inf, 6), "inf"),
    ],
)
def test_a_box_outside_or_empty_is_refused_with_its_place(
    xyxy: tuple[float, ...], message: str
) -> None:
    good = (0, 0, 1, 1)
    with pytest.raises(SchemaError, match=rf"{message}.*in frame 2; clip boxes") as caught:
        boxes(xyxy=np.array([good, xyxy, good], np.float32))
    assert caught.value.video_id == "a.mp4"


@pytest.mark.parametrize("frame", [(0, 1, 4), (-1, 0, 1), (1, 0, 2)])
def test_frame_indices_are_sorted_and_in_the_video(frame: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match=rf"{min(frame)}\.\.{max(frame)} must .* 0\.\.3"):
        boxes(frame=np.array(frame, np.int32))


@pytest.mark.parametrize("column", FULL)
def test_columns_are_of_one_length(column: str) -> None:
    with pytest.raises(SchemaError, match="2 values beside 3 boxes"):
        boxes(**{column: FULL[column][:2]})


def test_corners_fit_the_frame_indices() -> None:
    with pytest.raises(SchemaError, match=r"shape \(2, 4\) for 3 frame indices"):
        boxes(xyxy=np.ones((2, 4), np.float32))


def test_masks_by_hand() -> None:
    mask = np.array([[0, 0, 1], [1, 0, 1]], bool)
    assert encode_mask(mask).tolist() == [2, 2, 1, 1, 0]  # closed by a run of zeros
    assert encode_mask(~mask).tolist() == [0, 2, 2, 1, 1]
    assert encode_mask(np.zeros((2, 3), bool)).tolist() == [6]


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans())
)
def test_any_mask_survives(mask: np.ndarray) -> None:
    runs = encode_mask(mask)
    assert runs.dtype == np.int32
    assert (runs[1:-1] > 0).all()  # as short as can be
    assert (decode_mask(runs, *mask.shape) == mask).all()


def test_masks_of_another_size_or_none_at_all() -> None:
    with pytest.raises(SchemaError, match="mask runs cover 6 of 3x3 pixels"):
        decode_mask(np.array([2, 4], np.int32), 3, 3)
    with pytest.raises(SchemaError, match="carry no masks"):
        boxes().mask(0)
    assert (boxes(**FULL).mask(1) == np.eye(6, 8, 1, dtype=bool)).all()


def test_valid_frames_are_large_and_confirmed() -> None:
    found = boxes(
        frame=np.array([0, 1, 1, 3], np.int32),
        xyxy=np.tile(np.array([[0, 0, 4, 4]], np.float32), (4, 1)),
        track=np.array([7, 7, 8, 7], np.int32),
        score=np.array([0.9, 0.9, 0.9, 0.4], np.float32),
        mask_runs=[np.array([0, 12, 36], np.int32), np.array([0, 5, 43], np.int32)] * 2,
    )
    assert found.valid_frames(7).tolist() == [0]
    assert found.valid_frames(7, min_pixels=5).tolist() == [0, 1]
    assert found.valid_frames(7, min_pixels=5, min_score=0.3).tolist() == [0, 1, 3]
    assert found.valid_frames(9).tolist() == []
    with pytest.raises(SchemaError, match="track, score and masks"):
        boxes().valid_frames(7)
