from __future__ import annotations

import numpy as np
import pytest

from stages.track.labelling import fill_holes, label

HALF = (60, 80)


def square() -> np.ndarray:
    out = np.zeros(HALF, np.uint8)
    out[20:40, 30:50] = 1
    return out


def test_regions_come_largest_first_and_specks_do_not() -> None:
    changed = np.zeros(HALF, np.uint8)
    changed[2:10, 2:10] = changed[20:50, 50:75] = changed[30:32, 10:12] = 1
    labels, share = label(changed, np.zeros_like(changed), min_area=0.004)
    assert len(share) == 3
    assert abs(int((labels == 1).sum()) - 30 * 25) < 20
    assert abs(int((labels == 2).sum()) - 64) < 8


def test_a_region_in_the_corner_does_not_grow_to_the_border_of_its_cut() -> None:
    changed = np.zeros(HALF, np.uint8)
    changed[20:40, 20:40], changed[50:58, 60:78] = 1, 1
    labels, _ = label(changed, changed, min_area=0.004)
    assert abs(int((labels > 0).sum()) - 400 - 8 * 18) < 20


def test_the_share_that_moves_is_the_evidence() -> None:
    changed = square()
    moving = changed.copy()
    moving[20:40, 30:40] = 0
    _, share = label(changed, moving, min_area=0.004)
    assert share[1] == pytest.approx(0.5, abs=0.05)


def test_small_holes_are_filled_and_large_ones_are_not() -> None:
    mask = square()
    mask[24:26, 34:36] = mask[28:38, 38:48] = 0
    filled = fill_holes(mask, largest=10)
    assert filled[24:26, 34:36].all()
    assert not filled[28:38, 38:48].any()
    assert not label(np.zeros(HALF, np.uint8), mask, min_area=0.004)[0].any()
