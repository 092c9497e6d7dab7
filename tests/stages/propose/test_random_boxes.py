from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.propose.random_boxes import RandomBoxes, sample_boxes


def test_boxes_have_the_statistics_of_the_spec() -> None:
    """constcl.md section 10, item 13; n = 400 000, so five standard errors are < 0.004."""
    boxes = sample_boxes(np.random.default_rng(0), RandomBoxes(num_boxes=400_000))
    x1, y1, x2, y2 = boxes.T
    assert np.mean(x2 == 0.999) == pytest.approx(0.301, abs=0.004)
    assert np.mean(y2 == 0.999) == pytest.approx(0.376, abs=0.004)
    valid = (x2 > x1) & (y2 > y1)
    assert 1 - valid.mean() == pytest.approx(0.00196, abs=0.0004)
    assert np.mean(x2 - x1) == pytest.approx(0.2481, abs=0.001)
    assert np.mean(y2 - y1) == pytest.approx(0.2843, abs=0.0015)
    area = (x2 - x1) * (y2 - y1)
    assert area[valid].mean() == pytest.approx(0.0774, abs=0.001)
    np.testing.assert_allclose(
        np.quantile(area, [0.05, 0.25, 0.5, 0.75, 0.95]),
        [0.0050, 0.0224, 0.0526, 0.1099, 0.2334],
        rtol=0.02,
    )
    assert abs(np.corrcoef(x1, y1)[0, 1]) < 0.008


def test_every_strided_frame_gets_its_own_boxes(make_frames: Callable[..., Any]) -> None:
    frames = make_frames(num_frames=20)
    boxes = RandomBoxes(num_boxes=5, frame_stride=8).process(frames=frames)
    assert boxes.frame.tolist() == [0] * 5 + [8] * 5 + [16] * 5
    assert boxes.region is not None
    assert boxes.region.tolist() == [0, 1, 2, 3, 4] * 3
    assert not np.array_equal(boxes.xyxy[:5], boxes.xyxy[5:10])


def test_the_draw_depends_on_seed_and_video_and_on_nothing_else(
    make_frames: Callable[..., Any],
) -> None:
    def draw(seed: int, video_id: str) -> np.ndarray:
        return RandomBoxes(seed=seed).process(frames=make_frames(video_id)).xyxy

    first = draw(0, "a.mp4")
    np.random.default_rng().random()
    np.testing.assert_array_equal(first, draw(0, "a.mp4"))
    assert not np.array_equal(first, draw(1, "a.mp4"))
    assert not np.array_equal(first, draw(0, "b.mp4"))


def test_no_box_is_turned_inside_out_at_the_border(make_frames: Callable[..., Any]) -> None:
    # One in 500 is drawn beyond the border; `Boxes` refuses an empty one.
    frames = make_frames(frames=np.zeros((1, 16, 16, 3), np.uint8))
    boxes = RandomBoxes(num_boxes=20_000).process(frames=frames)
    assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()


@pytest.mark.parametrize(
    "options", [{"min_width": 0.6}, {"min_aspect": 3.0}, {"num_boxes": 0}], ids=str
)
def test_bounds_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        RandomBoxes(**options)
