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
    from scipy.ndimage import find_objects

    height, width = labels_HW.shape
    areas = np.bincount(labels_HW.ravel())
    chosen = np.sort(np.argsort(-areas, kind="stable")[:largest])
    slices = find_objects(labels_HW + 1)  # its label 0 is no object
    regions = np.asarray([i for i in chosen if areas[i]], np.int32)
    corners = [
        (slices[i][1].start, slices[i][0].start, slices[i][1].stop, slices[i][0].stop)
        for i in regions
    ]
    xyxy = np.asarray(corners, np.float32).reshape(-1, 4)
    sides = (xyxy[:, 2:] - xyxy[:, :2]) / np.array([width, height])
    keep = ((sides >= min_side) & (sides <= max_side)).all(axis=1)
    return regions[keep], xyxy[keep]
