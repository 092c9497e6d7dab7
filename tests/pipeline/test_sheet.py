from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.ink import INK, palette
from pipeline.sheet import choose_frames, contact_sheet, describe, time_line
from pipeline.stage import VideoStage
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames


class Strided(VideoStage, name="strided_for_sheets", version=1):
    frame_stride: int = 4

    def process(self, *, frames: Frames) -> Boxes:
        raise NotImplementedError


def boxes_in(frames: list[int], num_frames: int = 40, **columns: Any) -> Boxes:
    xyxy = np.full((len(frames), 4), [2, 3, 12, 13], np.float32)
    at = np.asarray(frames, np.int32)
    return Boxes("a.mp4", num_frames, 48, 64, frame=at, xyxy=xyxy, **columns)


@pytest.mark.parametrize(
    ("filled", "stride", "expected"),
    [
        (range(40), 1, [4, 14, 24, 34]),  # the middles of four spans
        ([2, 17, 18, 35], 1, [2, 17, 24, 35]),  # frames with boxes are preferred
        (range(0, 40, 4), 4, [4, 16, 24, 32]),  # only those that were looked at
        ([], 4, [4, 16, 24, 32]),
    ],
)
def test_a_frame_from_each_span_of_time(
    make_frames: Any, filled: list[int], stride: int, expected: list[int]
) -> None:
    stage = Strided(frame_stride=stride)
    chosen = choose_frames(stage, boxes_in(list(filled)), make_frames(num_frames=40), 4)
    assert chosen == expected


def test_a_short_video_shows_each_frame_once(make_frames: Any) -> None:
    frames = make_frames(num_frames=2)
    assert choose_frames(Strided(frame_stride=1), frames, frames, 4) == [0, 1]
    assert contact_sheet(Strided(), frames, frames).ndim == 3


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({}, "3 boxes in 2 of 10 frames"),
        ({"track": np.array([0, 0, 1], np.int32)}, "2 tubes in 2 of 10 frames"),
        ({"track": np.array([3, 3, 3], np.int32)}, "1 tube in 2 of 10 frames"),
        ({"label": ["a", "b", "b"]}, "3 detections in 2 of 10 frames"),
    ],
)
def test_the_title_counts_what_was_found(columns: dict[str, Any], text: str) -> None:
    assert describe(Strided(), boxes_in([0, 0, 8], **columns)) == text


def test_the_title_of_nothing_and_of_frames(make_frames: Any) -> None:
    assert describe(Strided(), boxes_in([])) == "nothing found in 10 frames"
    assert describe(Strided(), make_frames(num_frames=26)) == "26 frames in 1.0 s, 64x48"


def test_the_time_line_has_a_bar_where_a_tube_was_seen() -> None:
    stage = Strided(frame_stride=1)
    seen = [*range(0, 10), *range(30, 40)]
    tubes = boxes_in(seen, track=np.array([0] * 10 + [5] * 10, np.int32))
    found = time_line(stage, tubes, 420)
    assert found is not None
    line = found.at([20])
    (tick,) = np.flatnonzero((line == 90).all((0, 2)))
    bars = [np.flatnonzero((line == palette(k)).all(-1).any(0)) for k in (0, 5)]
    for bar in bars:
        assert len(bar) == pytest.approx(line.shape[1] / 4, rel=0.1)
        assert len(bar) == bar[-1] - bar[0] + 1
    assert bars[0][-1] < tick < bars[1][0]


def test_a_bar_is_thin_where_a_tube_is_only_carried_on() -> None:
    scores = np.array([0.9] * 20 + [0.1] * 20, np.float32)
    tube = boxes_in(list(range(40)), track=np.zeros(40, np.int32), score=scores)
    line = time_line(Strided(frame_stride=1), tube, 420)
    assert line is not None
    height = (line.image == palette(0)).all(-1).sum(0)
    assert (height[line.x_T[:20]] == 8).all()
    assert (height[line.x_T[20:]] == 2).all()


def test_boxes_without_identity_have_no_time_line() -> None:
    assert time_line(Strided(), boxes_in([0, 4]), 400) is None


def test_a_class_seen_in_a_strided_frame_lasts_until_the_next() -> None:
    line = time_line(Strided(frame_stride=4), boxes_in([8], label=["a"]), 400)
    assert line is not None
    bar = (line.image == palette(0)).all(-1).any(0).sum()
    assert bar == pytest.approx(line.image.shape[1] / 10, rel=0.15)


@pytest.mark.parametrize("size", [(48, 64), (160, 90), (4, 300), (300, 4), (1, 1)])
def test_a_sheet_of_frames_of_any_shape(make_frames: Any, size: tuple[int, int]) -> None:
    images = np.full((40, *size, 3), 120, np.uint8)
    frames = make_frames(frames=images)
    xyxy = np.array([[0, 0, *size[::-1]]], np.float32)
    boxes = Boxes("a.mp4", 40, *size, frame=np.array([20], np.int32), xyxy=xyxy)
    sheet = contact_sheet(Strided(), boxes, frames)
    assert sheet.shape[1] < 1300
    assert (sheet == palette(0)).all(-1).any()
    assert (sheet == INK).all(-1).any()


def test_a_wider_sheet_has_larger_frames(make_frames: Any) -> None:
    frames = make_frames(num_frames=40)
    small, large = (contact_sheet(Strided(), frames, frames, width=w) for w in (500, 1500))
    assert len(large) > 2 * len(small)
