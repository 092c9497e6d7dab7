"""From a mask of pixels to numbered regions without holes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_KERNEL = np.ones((3, 3), np.uint8)
_JOIN = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_ROOM = 4  # pixels that closing reaches
_HOLE = 0.2  # of a frame's least object area: smaller holes are filled
_MAX_REGIONS = 64  # of a frame, largest first


def label(
    changed_HW: NDArray[np.uint8], moving_HW: NDArray[np.uint8], *, min_area: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Regions (H, W) of the changed pixels, largest first, and their moving share.

    Notes
    -----
    Parts with little between them, such as the limbs of a body, are one region.
    """
    least = max(1.0, min_area * changed_HW.size)
    labels_HW = np.zeros(changed_HW.shape, np.uint8)
    left, top, width, height = cv2.boundingRect(changed_HW)
    if width * height < least:
        return labels_HW, np.zeros(1, np.float32)
    box = np.s_[top : top + height, left : left + width]
    # Closing would stick to the border of what is cut out, so it gets room.
    wide = np.pad(changed_HW[box], _ROOM)
    solid = cv2.morphologyEx(wide, cv2.MORPH_OPEN, _KERNEL)
    solid = np.asarray(cv2.morphologyEx(solid, cv2.MORPH_CLOSE, _JOIN), np.uint8)
    solid = fill_holes(solid, largest=_HOLE * least)
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, _JOIN)
    count, joined, stats, _ = cv2.connectedComponentsWithStats(joined)
    inner = np.s_[_ROOM:-_ROOM, _ROOM:-_ROOM]
    solid, joined = solid[inner], joined[inner]
    area = stats[:, cv2.CC_STAT_AREA]
    area[0] = 0
    order = [i for i in np.argsort(-area, kind="stable")[:_MAX_REGIONS] if area[i] >= least]
    renumber = np.zeros(count, np.uint8)
    renumber[order] = np.arange(1, len(order) + 1)
    labels = renumber[joined] * solid
    flat = labels[::2, ::2].ravel()
    sizes = np.bincount(flat, minlength=len(order) + 1)
    moved = np.bincount(flat[moving_HW[box][::2, ::2].ravel() > 0], minlength=len(order) + 1)
    share = (moved / np.maximum(sizes, 1)).astype(np.float32)
    share[0] = 0
    labels_HW[box] = labels
    return labels_HW, share


def fill_holes(mask_HW: NDArray[np.uint8], *, largest: float) -> NDArray[np.uint8]:
    """The mask without holes up to an area in pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask_HW, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= largest
    small[0] = True  # the mask itself
    if small.sum() == 1:
        return mask_HW
    return small[labels].astype(np.uint8)
