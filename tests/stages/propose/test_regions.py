from __future__ import annotations

import numpy as np
import pytest

from stages.propose.regions import keep_largest, segment_boxes


def worked_map() -> np.ndarray:
    """The label map of constcl.md section 10, item 14; in the order of their first pixels."""
    labels = np.zeros((100, 100), int)
    labels[:, 50:] = 1
    labels[10:30, 60:80] = 2  # a square
    labels[80:84, 10:40] = 3  # a strip of 4 x 30
    return labels


def test_only_the_square_of_the_worked_map_survives() -> None:
    regions, xyxy = segment_boxes(worked_map(), min_side=0.05, max_side=0.7)
    assert regions.tolist() == [2]
    assert xyxy.tolist() == [[60, 10, 80, 30]]
    assert (regions.dtype, xyxy.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [((0, 1), [0, 1, 2, 3]), ((0.04, 0.7), [2, 3]), ((0.2, 0.2), [2]), ((0.21, 0.7), [])],
)
def test_bounds_of_both_sides_are_inclusive(bounds: tuple[float, float], kept: list[int]) -> None:
    regions, xyxy = segment_boxes(worked_map(), min_side=bounds[0], max_side=bounds[1])
    assert regions.tolist() == kept
    assert xyxy.shape == (len(kept), 4)


def test_numbers_follow_the_first_pixels_whatever_the_labels() -> None:
    expected = segment_boxes(worked_map(), min_side=0, max_side=0.7)
    for renamed in ([3, 0, 2, 1], [0, 7, 5, 100], [9, 2, 1, 0]):
        found = segment_boxes(np.array(renamed)[worked_map()], min_side=0, max_side=0.7)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_boxes_are_tight_also_for_labels_with_gaps(dtype: type) -> None:
    labels = np.full((7, 9), 40, dtype)
    labels[2, 3] = labels[4, 6] = 5
    regions, xyxy = segment_boxes(labels, min_side=0, max_side=1)
    assert regions.tolist() == [0, 1]
    assert xyxy.tolist() == [[0, 0, 9, 7], [3, 2, 7, 5]]


def test_boxes_agree_with_a_search_for_every_segment() -> None:
    labels = np.random.default_rng(3).integers(0, 30, (24, 31))
    labels[:12, :15] //= 10
    _, first = np.unique(labels, return_index=True)
    in_order = labels.ravel()[np.sort(first)]
    regions, xyxy = segment_boxes(labels, min_side=0, max_side=1)
    for label, box in zip(in_order, xyxy, strict=True):
        ys, xs = np.nonzero(labels == label)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert regions.tolist() == list(range(len(in_order)))


@pytest.mark.parametrize(
    ("count", "kept"),
    [(None, [3, 5, 6, 8]), (3, [3, 5, 8]), (2, [3, 8]), (1, [8]), (9, [3, 5, 6, 8])],
)
def test_the_largest_boxes_are_kept_in_their_order(count: int | None, kept: list[int]) -> None:
    xyxy = np.array([[0, 0, 4, 4], [0, 0, 3, 2], [5, 5, 8, 7], [1, 1, 9, 9]], np.float32)
    regions, boxes = keep_largest((np.array([3, 5, 6, 8], np.int32), xyxy), count)
    assert regions.tolist() == kept  # 5 and 6 are as large: the first one stays
    np.testing.assert_array_equal(boxes, xyxy[np.isin([3, 5, 6, 8], kept)])


def test_nothing_has_no_largest() -> None:
    nothing = (np.zeros(0, np.int32), np.zeros((0, 4), np.float32))
    regions, boxes = keep_largest(nothing, 3)
    assert (regions.shape, boxes.shape) == ((0,), (0, 4))
