"""Random crops that show enough of an object: PreViTS' spatial sampling.

References
----------
Chen et al., *PreViTS*, WACV 2023; specs/previts.md section 4.2.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.learning.views import CROP_ASPECT, ResizedCrop

Cover = Literal["mask", "iou"]
_TRIES = 10


def sample_covering(
    rng: np.random.Generator,
    mask_HW: NDArray[np.bool_],
    *,
    size: int,
    area: tuple[float, float],
    min_cover: float,
    cover: Cover = "mask",
    flip_probability: float = 0.5,
) -> ResizedCrop:
    """Draw a crop around a mask.

    Parameters
    ----------
    rng : numpy Generator
    mask_HW : ndarray of shape (H, W), bool
        At least one pixel is set.
    size : int
        Side of the view in pixels.
    area : (float, float)
        Share of the frame that a crop takes.
    min_cover : float
        Least share of the mask inside of the crop; less is asked for where the mask is
        larger than the smallest crop.
    cover : {"mask", "iou"}
        "iou" asks for that overlap of crop and mask instead. Small masks can never reach
        it, so most crops then come from the fallback.
    flip_probability : float

    Notes
    -----
    Centres are drawn from a Gaussian around the mask's centroid, as wide as the frame and
    cut off where the crop would leave it. If ten crops fail, the mask's box is taken, each
    side pushed outwards at random and its aspect brought within 3:4 and 4:3.
    """
    height, width = mask_HW.shape
    total = np.pad(mask_HW.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # sums of any rectangle
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    mask_area = int(total[-1, -1])
    centre_y, centre_x = (float(axis.mean()) for axis in np.nonzero(mask_HW))
    bound = min(min_cover, area[0] * height * width / mask_area)
    flip = bool(rng.random() < flip_probability)
    for _ in range(_TRIES):
        share = rng.uniform(*area) * height * width
        ratio = np.exp(rng.uniform(*np.log(CROP_ASPECT)))
        h, w = round(np.sqrt(share / ratio)), round(np.sqrt(share * ratio))
        if not (0 < h <= height and 0 < w <= width):
            continue
        left = _truncated(rng, centre_x, width, w / 2, width - w / 2) - w / 2
        top = _truncated(rng, centre_y, height, h / 2, height - h / 2) - h / 2
        y, x = min(round(top), height - h), min(round(left), width - w)
        inside = total[y + h, x + w] - total[y, x + w] - total[y + h, x] + total[y, x]
        whole = mask_area if cover == "mask" else mask_area + h * w - inside
        if inside / whole >= bound:
            return ResizedCrop(y, x, h, w, size=size, flip=flip)
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    y1, x1, y2, x2 = _grown(rng, box, height, width)
    return ResizedCrop(y1, x1, y2 - y1, x2 - x1, size=size, flip=flip)


def _truncated(
    rng: np.random.Generator, mean: float, deviation: float, low: float, high: float
) -> float:
    """A Gaussian draw within bounds, by the inverse of its distribution."""
    from scipy.special import ndtr, ndtri  # not above: a plan reads methods and must stay light

    bounds = ndtr((np.array([low, high]) - mean) / deviation)
    return float(np.clip(mean + deviation * ndtri(rng.uniform(*bounds)), low, high))


def _grown(
    rng: np.random.Generator, box: tuple[int, int, int, int], height: int, width: int
) -> tuple[int, int, int, int]:
    """The box with its sides pushed outwards and its aspect mended; top, left, bottom, right."""
    top, left, bottom, right = box
    y1, x1 = top - int(rng.integers(top + 1)), left - int(rng.integers(left + 1))
    y2 = bottom + int(rng.integers(height - bottom + 1))
    x2 = right + int(rng.integers(width - right + 1))
    w, h = x2 - x1, y2 - y1
    if w / h > CROP_ASPECT[1]:
        w = max(1, int(h * CROP_ASPECT[1]))
    elif w / h < CROP_ASPECT[0]:
        h = max(1, int(w / CROP_ASPECT[0]))
    # Cut at the far side, then shifted so that the mask stays inside where it can.
    y1, x1 = y1 + max(0, bottom - (y1 + h)), x1 + max(0, right - (x1 + w))
    return min(y1, height - h), min(x1, width - w), min(y1, height - h) + h, min(x1, width - w) + w
