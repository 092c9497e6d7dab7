from __future__ import annotations

import numpy as np
import pytest

from stages.propose.regions import segment_boxes


def worked_map() -> np.ndarray:
    """The label map of constcl.md section 10, item 14."""
    labels = np.zeros((100, 100), int)
    labels[:, 50:] = 1
    labels[80:84, 10:40] = 2  # a strip of 4 x 30
    labels[10:30, 60:80] = 3  # a square
    return labels


def test_only_the_square_of_the_worked_map_survives() -> None:
    regions, xyxy = segment_boxes(worked_map(), min_side=0.05, max_side=0.7)
    assert regions.tolist() == [3]
    assert xyxy.tolist() == [[60, 10, 80, 30]]
    assert (regions.dtype, xyxy.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [((0, 1), [0, 1, 2, 3]), ((0.04, 0.7), [2, 3]), ((0.2, 0.2), [3]), ((0.21, 0.7), [])],
)
def test_bounds_of_both_sides_are_inclusive(bounds: tuple[float, float], kept: list[int]) -> None:
    regions, xyxy = segment_boxes(worked_map(), min_side=bounds[0], max_side=bounds[1])
    assert regions.tolist() == kept
    assert xyxy.shape == (len(kept), 4)


def test_the_largest_are_chosen_before_the_filter_and_keep_their_order() -> None:
    regions, _ = segment_boxes(worked_map(), min_side=0, max_side=1, largest=3)
    assert regions.tolist() == [0, 1, 3]
    regions, _ = segment_boxes(worked_map(), min_side=0.05, max_side=0.7, largest=2)
    assert regions.tolist() == []


def test_boxes_are_tight_also_for_labels_with_gaps() -> None:
    labels = np.full((7, 9), 5)
    labels[2, 3] = labels[4, 6] = 40
    regions, xyxy = segment_boxes(labels, min_side=0, max_side=1)
    assert regions.tolist() == [5, 40]
    assert xyxy.tolist() == [[0, 0, 9, 7], [3, 2, 7, 5]]


def test_boxes_agree_with_a_search_for_every_segment() -> None:
    labels = np.random.default_rng(3).integers(0, 30, (24, 31))
    labels[:12, :15] //= 10
    regions, xyxy = segment_boxes(labels, min_side=0, max_side=1)
    for region, box in zip(regions, xyxy, strict=True):
        ys, xs = np.nonzero(labels == region)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert len(regions) == len(np.unique(labels))
