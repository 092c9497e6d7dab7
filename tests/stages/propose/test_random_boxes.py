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


def test_correlated_draws_lie_on_the_diagonal_and_grow_along_it() -> None:
    """constcl.md section 8, item 1: four draws of one number."""
    stage = RandomBoxes(num_boxes=200_000, draws="correlated")
    x1, y1, x2, y2 = sample_boxes(np.random.default_rng(0), stage).T
    np.testing.assert_array_equal(x1, y1)
    np.testing.assert_allclose(x2, np.minimum(x1 + 0.1 + 0.4 * x1, 0.999))
    np.testing.assert_allclose(y2, np.minimum(y1 + (0.1 + 0.4 * y1) * (0.5 + 1.5 * y1), 0.999))
    area = (x2 - x1) * (y2 - y1)
    assert area[x2 > x1].mean() == pytest.approx(0.0553, abs=0.0005)
    assert area.max() == pytest.approx(0.142, abs=0.0005)
    assert x1[area.argmax()] == pytest.approx(0.562, abs=0.005)


def test_bounds_are_those_of_the_draw() -> None:
    stage = RandomBoxes(
        num_boxes=20_000, min_width=0.02, max_width=0.03, min_aspect=1.5, max_aspect=1.6
    )
    x1, y1, x2, y2 = sample_boxes(np.random.default_rng(0), stage).T
    inside = (x2 < 0.999) & (y2 < 0.999)
    width, aspect = (x2 - x1)[inside], ((y2 - y1) / (x2 - x1))[inside]
    assert 0.02 <= width.min() < 0.0201 < 0.0299 < width.max() <= 0.03
    assert 1.5 - 1e-9 <= aspect.min() < 1.501 < 1.599 < aspect.max() <= 1.6 + 1e-9


def test_a_frame_keeps_its_boxes_under_another_stride(make_frames: Callable[..., Any]) -> None:
    frames = make_frames(num_frames=9)
    one, two = (RandomBoxes(frame_stride=n).process(frames=frames) for n in (2, 4))
    for t in (0, 4, 8):
        np.testing.assert_array_equal(one.xyxy[one.in_frame(t)], two.xyxy[two.in_frame(t)])


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
    "options", [{"min_width": 0.6}, {"min_aspect": 3.0}, {"num_boxes": 0}, {"draws": "tf"}], ids=str
)
def test_bounds_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        RandomBoxes(**options)
