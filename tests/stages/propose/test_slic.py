from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.propose.slic import Slic, superpixel_boxes, superpixels


def test_rectangles_of_one_colour_get_boxes_of_their_own(
    picture: np.ndarray, rectangles: tuple[tuple[int, ...], ...]
) -> None:
    _, xyxy = superpixel_boxes(picture, Slic(compactness=1))
    assert 4 <= len(xyxy) <= 24
    for wanted in rectangles:
        assert np.abs(xyxy - np.array(wanted)).max(axis=1).min() <= 3


def test_more_segments_give_more_and_smaller_boxes(picture: np.ndarray) -> None:
    few = superpixel_boxes(picture, Slic())[1]
    many = superpixel_boxes(picture, Slic(num_segments=64))[1]
    assert len(many) > 2 * len(few)
    assert np.prod(many[:, 2:] - many[:, :2], axis=1).mean() < 2000


def test_sides_stay_within_their_bounds(picture: np.ndarray) -> None:
    _, xyxy = superpixel_boxes(picture, Slic(min_side=0.2, max_side=0.4))
    sides = (xyxy[:, 2:] - xyxy[:, :2]) / (128, 96)
    assert len(xyxy)
    assert sides.min() >= 0.2
    assert sides.max() <= 0.4


def test_the_published_picture_of_the_spec_gives_about_as_many_segments() -> None:
    data = pytest.importorskip("skimage.data")
    crop = data.astronaut()[:224, 100:324]
    assert 6 <= superpixels(crop, Slic()).max() + 1 <= 24


def test_only_strided_frames_are_decoded(
    make_frames: Callable[..., Any], video: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = make_frames(frames=video)
    seen: list[int] = []
    decode = type(frames).decode
    monkeypatch.setattr(
        type(frames), "decode", lambda self, at: seen.extend(map(int, at)) or decode(self, at)
    )
    boxes = Slic(frame_stride=4).process(frames=frames)
    assert seen == [0, 4, 8]
    assert np.unique(boxes.frame).tolist() == [0, 4, 8]
    assert boxes.region is not None
    assert all(len(np.unique(boxes.region[boxes.frame == t])) for t in seen)


def test_the_same_frames_give_the_same_boxes_whatever_the_threads(
    make_frames: Callable[..., Any], video: np.ndarray
) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    frames = make_frames(frames=video)
    tables = []
    for count in (1, 2, 4):
        with threadpoolctl.threadpool_limits(count):
            tables.append(Slic().process(frames=frames).to_tables()["boxes"])
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_a_blank_video_gives_an_answer_and_a_picture(make_frames: Callable[..., Any]) -> None:
    frames = make_frames(frames=np.zeros((1, 5, 7, 3), np.uint8))
    boxes = Slic(num_segments=2, max_side=0.1).process(frames=frames)
    assert len(boxes) == 0
    assert Slic().preview(boxes, frames=frames).ndim == 3


def test_the_marks_are_the_superpixels_below_the_stored_boxes(
    make_frames: Callable[..., Any], video: np.ndarray
) -> None:
    frames = make_frames(frames=video)
    stage = Slic(frame_stride=2)
    boxes = stage.process(frames=frames)
    borders, *found = stage.marks(2, boxes, frames)
    assert borders.regions_HW is not None
    np.testing.assert_array_equal(borders.regions_HW, superpixels(frames.decode([2])[0], stage))
    np.testing.assert_array_equal([mark.xyxy for mark in found], boxes.xyxy[boxes.in_frame(2)])
    assert len(found) > 3
    assert [stage.marked_frame(t) for t in range(5)] == [0, 0, 2, 2, 4]


def test_bounds_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_side and max_side are 0\.8 and 0\.7"):
        Slic(min_side=0.8)
