from __future__ import annotations

import numpy as np
import pytest

from stages.track.refine import full_size, runs
from stages.track.tube import Patch
from storage_schemas.boxes import encode_mask


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_those_of_the_noun(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(1, 9)), int(rng.integers(1, 9))
    mask = rng.random((height, width)) < rng.choice([0.2, 0.5, 1.0])
    mask[rng.integers(height), rng.integers(width)] = True
    patch = Patch.of(mask.astype(np.uint8))
    found = runs(patch, height, width)
    np.testing.assert_array_equal(found, encode_mask(mask))
    assert found.dtype == np.int32


@pytest.mark.parametrize(("top", "left"), [(20, 30), (0, 0), (36, 60)])
def test_a_mask_keeps_its_place_and_area_at_full_size(top: int, left: int) -> None:
    patch = Patch(left, top, np.ones((24, 20), np.bool_))
    full = full_size(patch, (60, 80), (120, 161))
    assert full is not None
    x1, y1, x2, y2 = full.xyxy
    np.testing.assert_allclose([x1, x2], np.array([left, left + 20]) * 161 / 80, atol=1)
    np.testing.assert_allclose([y1, y2], np.array([top, top + 24]) * 2, atol=1)
    assert full.area == pytest.approx(24 * 20 * 2 * 161 / 80, rel=0.04)


def test_a_speck_that_smoothing_takes_is_nothing() -> None:
    assert full_size(Patch(5, 5, np.ones((1, 1), np.bool_)), (40, 40), (40, 40)) is None
