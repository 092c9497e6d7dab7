from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.propose.felzenszwalb import Felzenszwalb, segment_proposals, segments


def test_both_runs_find_the_rectangles(
    picture: np.ndarray, rectangles: tuple[tuple[int, ...], ...]
) -> None:
    regions, xyxy = segment_proposals(picture, Felzenszwalb(scales=(200, 500)))
    assert len(np.unique(regions)) == len(regions)
    for run in range(2):
        found = xyxy[regions // 10_000 == run]
        for wanted in rectangles:
            assert np.abs(found - np.array(wanted)).max(axis=1).min() <= 2


def test_no_segment_is_smaller_than_its_scale(picture: np.ndarray) -> None:
    for scale in (100, 500, 1000):
        areas = np.bincount(segments(picture, scale=scale, sigma=0.8).ravel())
        assert areas.min() >= scale


def test_the_largest_segments_of_each_run_are_kept(picture: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    options = {"min_side": 0.0, "max_side": 1.0, "sigma": 0.0, "scales": (50, 200)}
    every, _ = segment_proposals(blocks, Felzenszwalb(max_segments=1000, **options))
    some, _ = segment_proposals(blocks, Felzenszwalb(max_segments=16, **options))
    assert (every < 10_000).sum() > 16
    assert (some < 10_000).sum() == 16
    assert set(some) <= set(every)


def test_a_single_scale_is_a_prefix_of_two(picture: np.ndarray) -> None:
    one = segment_proposals(picture, Felzenszwalb(scales=(500,)))
    two = segment_proposals(picture, Felzenszwalb(scales=(500, 1000)))
    np.testing.assert_array_equal(two[1][: len(one[1])], one[1])


def test_the_same_frames_give_the_same_boxes_whatever_the_threads(
    make_frames: Callable[..., Any], video: np.ndarray
) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    frames = make_frames(frames=video)
    tables = []
    for count in (1, 3):
        with threadpoolctl.threadpool_limits(count):
            tables.append(Felzenszwalb().process(frames=frames).to_tables()["boxes"])
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])


def test_the_marks_are_the_segments_below_the_stored_boxes(
    make_frames: Callable[..., Any], video: np.ndarray
) -> None:
    frames = make_frames(frames=video)
    stage = Felzenszwalb(frame_stride=2)
    boxes = stage.process(frames=frames)
    borders, *found = stage.marks(2, boxes, frames)
    expected = segments(frames.decode([2])[0], scale=500, sigma=0.8)
    np.testing.assert_array_equal(borders.regions_HW, expected)
    np.testing.assert_array_equal([mark.xyxy for mark in found], boxes.xyxy[boxes.in_frame(2)])


@pytest.mark.parametrize("scales", [(), (0,), (500, -1)])
def test_scales_that_mean_nothing_are_refused(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="scales"):
        Felzenszwalb(scales=scales)
