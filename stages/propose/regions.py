"""From a label map to the boxes of its regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def segment_boxes(
    labels_HW: NDArray[np.integer], *, min_side: float, max_side: float, largest: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Tight boxes of the segments whose sides are neither tiny nor nearly the image.

    Parameters
    ----------
    labels_HW : ndarray of shape (H, W), integer
        Segment number of each pixel, >= 0.
    min_side, max_side : float
        Bounds of both sides as a fraction of the image's side.
    largest : int, optional
        Look at this many segments only, by area.

    Returns
    -------
    regions : ndarray of shape (N,), int32
    xyxy : ndarray of shape (N, 4), float32
        Half-open, in pixels.

    References
    ----------
    Yuan et al., *ConST-CL*, CVPR 2022, supplement: sides within [0.05, 0.7].
    """
    height, width = labels_HW.shape
    numbers, flat, areas = np.unique(labels_HW.ravel(), return_inverse=True, return_counts=True)
    ys, xs = np.divmod(np.arange(flat.size), width)
    low = np.full((len(numbers), 2), max(height, width))
    high = np.zeros((len(numbers), 2), int)
    for axis, places in enumerate((xs, ys)):
        np.minimum.at(low[:, axis], flat, places)
        np.maximum.at(high[:, axis], flat, places + 1)
    order = np.argsort(-areas, kind="stable")[:largest]
    order.sort()
    sides = (high - low)[order] / np.array([width, height])
    keep = order[((sides >= min_side) & (sides <= max_side)).all(axis=1)]
    xyxy = np.concatenate([low[keep], high[keep]], axis=1).astype(np.float32)
    return numbers[keep].astype(np.int32), xyxy
