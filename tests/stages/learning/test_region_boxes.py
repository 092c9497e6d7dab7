"""Boxes of views: the statistics of constcl.md section 10, and proposals against pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import frames_of

from stages.learning.region_boxes import proposals_in_view, random_boxes
from stages.learning.views import ResizedCrop
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError
from storage_schemas.shards import Shard

SIZE = 64


def test_statistics_of_independent_draws() -> None:
    boxes_N4 = random_boxes(np.random.default_rng(0), 200_000).astype(float)
    x1, y1, x2, y2 = boxes_N4.T
    width, height = x2 - x1, y2 - y1
    assert (boxes_N4 >= 0).all()
    assert min(width.min(), height.min()) > 0
    assert max(x2.max(), y2.max()) <= 0.9991
    assert (x2 > 0.9989).mean() == pytest.approx(0.301, abs=0.004)
    assert (y2 > 0.9989).mean() == pytest.approx(0.376, abs=0.004)
    assert width.mean() == pytest.approx(0.2481, abs=0.002)
    assert height.mean() == pytest.approx(0.2843, abs=0.002)
    area = width * height
    assert area.mean() == pytest.approx(0.0774, abs=0.001)
    quantiles = np.quantile(area, [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(quantiles, [0.0050, 0.0224, 0.0526, 0.1099, 0.2334], rtol=0.03)
    assert abs(np.corrcoef(x1, y1)[0, 1]) < 0.01


def test_correlated_boxes_lie_on_the_diagonal_and_grow() -> None:
    boxes_N4 = random_boxes(np.random.default_rng(0), 50_000, correlated=True).astype(float)
    x1, y1, x2, y2 = boxes_N4.T
    assert (x1 == y1).all()
    area = (x2 - x1) * (y2 - y1)
    assert area.mean() == pytest.approx(0.0553, abs=0.001)
    assert area.max() == pytest.approx(0.142, abs=0.001)
    assert x1[area.argmax()] == pytest.approx(0.562, abs=0.01)


def square_video(height: int = 60, width: int = 90, num_frames: int = 10) -> tuple[Shard, Boxes]:
    """A white square of 20 pixels that moves by 4 a frame on black; boxes in frames 0, 4, 8."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    corner_N2 = np.stack([10 + 4 * np.arange(num_frames), np.full(num_frames, 16)], 1)
    for image, (x, y) in zip(frames, corner_N2, strict=True):
        image[y : y + 20, x : x + 20] = 255
    marked = np.array([0, 4, 8], np.int32)
    boxes = Boxes(
        video_id="a.mp4",
        num_frames=num_frames,
        height=height,
        width=width,
        frame=marked,
        xyxy=np.concatenate([corner_N2, corner_N2 + 20], 1)[marked].astype(np.float32),
    )
    return frames_of("a.mp4", frames, kind=Shard), boxes


def look(shard: Shard, boxes: Boxes, **changes: Any) -> tuple[Any, Any]:
    crop = ResizedCrop(top=0, left=0, height=60, width=90, size=SIZE, flip=False)
    options: dict[str, Any] = {
        "frame": 4, "crop": crop, "count": 3, "min_side": 0.05, "reach": 8,
        "rng": np.random.default_rng(0),
    }  # fmt: skip
    return proposals_in_view(boxes, shard, **(options | changes))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shrunk", [1, 2])
def test_boxes_enclose_the_pixels_that_the_view_shows(flip: bool, shrunk: int) -> None:
    """Also where the shard has another resolution than the frames that were looked at."""
    shard, boxes = square_video()
    double = Boxes(
        video_id="a.mp4", num_frames=10, height=60 * shrunk, width=90 * shrunk,
        frame=boxes.frame, xyxy=boxes.xyxy * shrunk,
    )  # fmt: skip
    crop = ResizedCrop(top=6, left=15, height=40, width=60, size=SIZE, flip=flip)
    boxes_N4, valid_N = look(shard, double, crop=crop)
    assert valid_N.tolist() == [True, False, False]
    assert (boxes_N4[1:] == 0).all()
    ys, xs = np.nonzero(crop.apply(shard.decode([4]))[0, ..., 0] > 127)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(boxes_N4[0], seen, atol=1)


def test_the_nearest_frame_within_reach_is_taken() -> None:
    shard, boxes = square_video()
    at_four, _ = look(shard, boxes)
    np.testing.assert_array_equal(look(shard, boxes, frame=5)[0], at_four)
    assert look(shard, boxes, frame=7)[0][0, 0] > at_four[0, 0]
    assert look(shard, boxes, frame=6, reach=2)[1].any()
    assert not look(shard, boxes, frame=6, reach=1)[1].any()


def test_what_leaves_the_view_is_no_box() -> None:
    shard, boxes = square_video()
    beside = ResizedCrop(top=0, left=46, height=44, width=44, size=SIZE, flip=False)
    assert not look(shard, boxes, crop=beside)[1].any()
    sliver = ResizedCrop(top=0, left=44, height=40, width=40, size=SIZE, flip=False)
    assert not look(shard, boxes, crop=sliver, min_side=0.06)[1].any()
    assert look(shard, boxes, crop=sliver, min_side=0.04)[1].any()
    none = Boxes(video_id="a.mp4", num_frames=10, height=60, width=90)
    assert not look(shard, none)[1].any()


def test_of_many_boxes_some_are_chosen_without_repetition() -> None:
    shard, _ = square_video()
    corners = np.arange(8, dtype=np.float32)[:, None] * [5, 3]
    many = Boxes(
        video_id="a.mp4", num_frames=10, height=60, width=90, frame=np.full(8, 4, np.int32),
        xyxy=np.concatenate([corners, corners + 20], 1).astype(np.float32),
    )  # fmt: skip
    seen = set()
    for seed in range(40):
        boxes_N4, valid_N = look(shard, many, rng=np.random.default_rng(seed))
        assert valid_N.all()
        assert len(np.unique(boxes_N4, axis=0)) == 3
        seen |= set(boxes_N4[:, 0].tolist())
    assert len(seen) == 8


def test_boxes_of_other_frames_are_refused() -> None:
    _, boxes = square_video()
    shard, _ = square_video(num_frames=9)
    with pytest.raises(ParameterError, match="10 frames, the shard has 9"):
        look(shard, boxes)
