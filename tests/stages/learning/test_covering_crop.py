"""Crops around a mask: the figures that a reconstruction of the reference gives."""

from __future__ import annotations

import numpy as np
import pytest

from stages.learning.covering_crop import _truncated, covered, sample_covering, sums_of
from stages.learning.views import ResizedCrop

HEIGHT, WIDTH = 256, 340


def mask_of(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def share_inside(crop: ResizedCrop, mask: np.ndarray) -> float:
    inside = mask[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    return float(inside.sum() / mask.sum())


def draw(mask: np.ndarray, count: int, **changes: object) -> list[ResizedCrop]:
    rng = np.random.default_rng(0)
    settings = {"size": 64, "area": (0.4, 1.0), "min_cover": 0.3, **changes}
    return [sample_covering(rng, mask, **settings) for _ in range(count)]


@pytest.mark.parametrize(
    ("crop", "share", "iou"),
    [
        ((0, 0, 70, 70), 1.0, 0.3265),
        ((0, 50, 100, 100), 0.5, 0.1379),
        ((50, 60, 100, 100), 0.0625, 0.0286),
        ((0, 0, 100, 100), 1.0, 0.16),
        ((20, 30, 60, 70), 1.0, 1.0),
    ],
)
def test_cover_and_overlap_of_worked_crops(
    crop: tuple[int, int, int, int], share: float, iou: float
) -> None:
    """previts.md section 10, number 9; crops are top, left, bottom, right."""
    mask = np.zeros((100, 100), np.bool_)
    mask[20:60, 30:70] = True
    assert covered(sums_of(mask), crop, "mask") == pytest.approx(share, abs=5e-5)
    assert covered(sums_of(mask), crop, "iou") == pytest.approx(iou, abs=5e-5)


@pytest.mark.parametrize(
    ("mask", "mean", "small"),
    [
        (mask_of(71, 94, 185, 246), 0.955, 0.001),  # a fifth of the frame, in its middle
        (mask_of(0, 0, 58, 78), 0.601, 0.06),  # a twentieth, in the corner
    ],
)
def test_mean_cover_and_share_of_fallbacks(mask: np.ndarray, mean: float, small: float) -> None:
    crops = draw(mask, 4000)
    covers = np.array([share_inside(crop, mask) for crop in crops])
    sampled = np.array([crop.height * crop.width >= 0.39 * HEIGHT * WIDTH for crop in crops])
    assert covers[sampled].mean() == pytest.approx(mean, abs=0.03)
    assert (~sampled).mean() <= small
    assert np.mean([crop.flip for crop in crops]) == pytest.approx(0.5, abs=0.04)
    assert covers[sampled].min() >= 0.3 - 1e-9


def test_a_tiny_mask_in_a_corner_needs_the_fallback_which_shows_it_whole() -> None:
    mask = mask_of(0, 0, 16, 16)
    crops = draw(mask, 2000)
    covers = np.array([share_inside(crop, mask) for crop in crops])
    small = np.array([crop.height * crop.width < 0.39 * HEIGHT * WIDTH for crop in crops])
    # The fallback's box may be large by chance, so that this is less than its true share.
    assert 0.3 < small.mean() < 0.7
    assert (covers >= 0.3).all()


def test_centres_are_gaussian_and_small_crops_lean_towards_the_mask() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([_truncated(rng, 0, 100, 0, 100) for _ in range(3000)])
    assert (draws.min() >= 0, draws.max() <= 100) == (True, True)
    assert draws.mean() == pytest.approx(45.986, abs=2)  # uniform: 50
    # Of the frame's width, in x; of its height, in y.
    small = np.zeros((64, 85), np.bool_)
    small[:4, :4] = True
    crops = draw(small, 4000, area=(0.02, 0.02), min_cover=0.0)
    x = np.mean([crop.left + crop.width / 2 for crop in crops]) / 85
    y = np.mean([crop.top + crop.height / 2 for crop in crops]) / 64
    assert (x, y) == pytest.approx((0.469, 0.471), abs=0.012)  # uniform: 0.5


def test_crops_stay_inside_of_the_frame_with_an_aspect_in_bounds() -> None:
    for mask in (mask_of(0, 0, 3, 340), mask_of(250, 330, 256, 340), mask_of(0, 100, 256, 110)):
        for crop in draw(mask, 300):
            assert 0 <= crop.top < crop.top + crop.height <= HEIGHT
            assert 0 <= crop.left < crop.left + crop.width <= WIDTH
            assert 0.7 < crop.width / crop.height < 1.4


def test_a_mask_larger_than_the_smallest_crop_asks_for_less() -> None:
    crops = draw(mask_of(0, 0, HEIGHT, WIDTH), 200, min_cover=0.9)
    areas = [crop.height * crop.width / (HEIGHT * WIDTH) for crop in crops]
    assert min(areas) < 0.5  # 0.9 of the mask would need 0.9 of the frame


def test_overlap_as_iou_rejects_what_cover_accepts() -> None:
    mask = mask_of(100, 140, 156, 200)  # 3.9 % of the frame: its IoU is at most 0.1
    by_cover, by_iou = draw(mask, 300), draw(mask, 300, cover="iou")
    large = [
        np.mean([crop.height * crop.width >= 0.39 * HEIGHT * WIDTH for crop in crops])
        for crops in (by_cover, by_iou)
    ]
    assert large[0] > 0.95
    assert large[1] < 0.6
