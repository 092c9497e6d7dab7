"""The eight variants: invariants of downstream.md section 10, and tiles worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.evaluate.backgrounds.variants import MIXED, VARIANTS, make_variant, tiled

SHAPE = (3, 10, 12)


@pytest.fixture
def clip() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Noise without black, and a mask that moves; the last frame has none."""
    rng = np.random.default_rng(0)
    masks_THW = np.zeros(SHAPE, np.bool_)
    masks_THW[0, 2:5, 3:7] = masks_THW[1, 4:9, 1:4] = True
    masks_THW[0, 2, 3] = False  # no rectangle, but its box is one
    return rng.integers(1, 256, (*SHAPE, 3), np.uint8), masks_THW


def test_foreground_and_background_add_up(clip: Any) -> None:
    frames, masks = clip
    only_fg, no_fg = make_variant("Only-FG", *clip), make_variant("No-FG", *clip)
    np.testing.assert_array_equal(only_fg + no_fg, frames)
    assert (only_fg[~masks] == 0).all()
    assert (no_fg[masks] == 0).all()
    np.testing.assert_array_equal(make_variant("Original", *clip), frames)


@pytest.mark.parametrize("variant", MIXED)
def test_what_is_not_foreground_is_the_donor_s(clip: Any, variant: Any) -> None:
    frames, masks = clip
    donor = np.random.default_rng(1).integers(0, 256, frames.shape, np.uint8)
    mixed = make_variant(variant, frames, masks, background_THWC=donor)
    np.testing.assert_array_equal(mixed[~masks], donor[~masks])
    np.testing.assert_array_equal(mixed[masks], frames[masks])


@pytest.mark.parametrize("variant", ["Only-BG-B", "Only-BG-T"])
def test_only_the_tight_box_changes(clip: Any, variant: Any) -> None:
    frames, masks = clip
    found = make_variant(variant, *clip)
    box = np.zeros_like(masks)
    box[0, 2:5, 3:7] = box[1, 4:9, 1:4] = True
    np.testing.assert_array_equal(found[~box], frames[~box])
    if variant == "Only-BG-B":
        assert (found[box] == 0).all()
    else:
        assert (found[box] > 0).all(), "tiles are of the frame, which has no black"
    for t in (0, 1):
        assert not (found[t][masks[t]] == frames[t][masks[t]]).all()


def test_inputs_are_left_as_they_are(clip: Any) -> None:
    frames, masks = clip
    before = frames.copy(), masks.copy()
    for variant in VARIANTS:
        found = make_variant(variant, frames, masks, background_THWC=frames)
        assert (found.shape, found.dtype) == (frames.shape, np.uint8)
    np.testing.assert_array_equal(frames, before[0])
    np.testing.assert_array_equal(masks, before[1])


def numbered(height: int, width: int) -> NDArray[np.uint8]:
    """Every pixel is its number, row by row."""
    grey = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        # Of 4 x 5 pixels: above lie 5, below 5, at the right 4 and at the left 8, two columns.
        ((1, 3), (2, 4), [[5, 6], [10, 11]]),
        # Below lie 10: two rows of five, which come again at the top of the frame.
        ((0, 2), (1, 3), [[11, 12], [16, 17]]),
        # The strip at the right is one column wide and repeats.
        ((0, 4), (0, 4), [[4] * 4, [9] * 4, [14] * 4, [19] * 4]),
        # Above lies a single row, which repeats downwards; left of it lies nothing.
        ((1, 4), (0, 5), [[0, 1, 2, 3, 4]] * 3),
        # Above and below lie 5 each, at the sides 4: below wins.
        ((1, 3), (1, 4), [[16, 17, 18]] * 2),
    ],
)
def test_tiles_by_hand(rows: Any, columns: Any, expected: Any) -> None:
    found = tiled(numbered(4, 5), (slice(*rows), slice(*columns)))
    np.testing.assert_array_equal(found[..., 0], expected)


def test_a_box_that_is_the_frame_is_black() -> None:
    assert (tiled(numbered(4, 5), (slice(0, 4), slice(0, 5))) == 0).all()
