"""From a label map to the boxes of its regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RegionBoxes = tuple[NDArray[np.int32], NDArray[np.float32]]


def segment_boxes(
    labels_HW: NDArray[np.integer], *, min_side: float, max_side: float
) -> RegionBoxes:
    """Tight boxes of the segments whose sides are neither tiny nor nearly the image.

    Parameters
    ----------
    labels_HW : ndarray of shape (H, W), integer
        Segment label of each pixel, >= 0, in any order and with gaps.
    min_side, max_side : float
        Bounds of both sides as a fraction of the image's side, inclusive.

    Returns
    -------
    regions : ndarray of shape (N,), int32
        Numbers of the segments, increasing. All segments of the map are counted in the
        order of their first pixel, row by row, whatever labels the library gave them; so
        a number depends on no bound.
    xyxy : ndarray of shape (N, 4), float32
        Half-open, in pixels.

    References
    ----------
    Yuan et al., *ConST-CL*, CVPR 2022, supplement: sides within [0.05, 0.7].
    """
    from scipy.ndimage import find_objects

    height, width = labels_HW.shape
    flat = labels_HW.ravel()
    first = np.full(int(flat.max()) + 1, flat.size)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # of repeated indices the last one counts
    slices = find_objects(labels_HW + 1)  # its label 0 is no object
    corners = [
        (columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in (slices[label] for label in np.argsort(first) if slices[label])
    ]
    xyxy = np.asarray(corners, np.float32)
    sides = (xyxy[:, 2:] - xyxy[:, :2]) / np.array([width, height])
    keep = ((sides >= min_side) & (sides <= max_side)).all(axis=1)
    return np.flatnonzero(keep).astype(np.int32), xyxy[keep]


def keep_largest(found: RegionBoxes, count: int | None) -> RegionBoxes:
    """At most `count` boxes, those of the largest area, in their order; None keeps all."""
    regions, xyxy = found
    if count is None or len(regions) <= count:
        return found
    areas = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    kept = np.sort(np.argsort(-areas, kind="stable")[:count])
    return regions[kept], xyxy[kept]
