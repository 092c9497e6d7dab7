"""From masks at working resolution to masks of the stored frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.tube import Patch

_PAD = 2  # working pixels around a patch, so that its outline can be smoothed


def full_size(patch: Patch, working: tuple[int, int], stored: tuple[int, int]) -> Patch | None:
    """A patch at the stored frame's size with a smooth outline; None if nothing is left.

    Parameters
    ----------
    patch : Patch
    working, stored : tuple of int
        Height and width of the frame at both resolutions.
    """
    soft = np.pad(patch.mask.astype(np.float32), _PAD, mode="edge")
    # A mask goes on beyond the frame's border, and nowhere else.
    left, top = patch.left - _PAD, patch.top - _PAD
    height, width = soft.shape
    for at, low, limit, axis in ((top, 0, working[0], 0), (left, 0, working[1], 1)):
        edge = [slice(None), slice(None)]
        extent = soft.shape[axis]
        if at + _PAD > low:
            edge[axis] = slice(0, _PAD)
            soft[tuple(edge)] = 0
        if at + extent - _PAD < limit:
            edge[axis] = slice(extent - _PAD, extent)
            soft[tuple(edge)] = 0
    soft = cv2.GaussianBlur(soft, (3, 3), 0)
    scale = stored[0] / working[0], stored[1] / working[1]
    box = [
        max(0, int(np.floor(top * scale[0]))),
        max(0, int(np.floor(left * scale[1]))),
        min(stored[0], int(np.ceil((top + height) * scale[0]))),
        min(stored[1], int(np.ceil((left + width) * scale[1]))),
    ]
    # Pixel centres: stored x + 0.5 lies at (x + 0.5) / scale of the working frame.
    ys = (np.arange(box[0], box[2]) + 0.5) / scale[0] - 0.5 - top
    xs = (np.arange(box[1], box[3]) + 0.5) / scale[1] - 0.5 - left
    at_x, at_y = np.meshgrid(xs.astype(np.float32), ys.astype(np.float32))
    mask = cv2.remap(soft, at_x, at_y, cv2.INTER_LINEAR) > 0.5
    if not mask.any():
        return None
    cut = Patch.of(mask.astype(np.uint8))
    return Patch(cut.left + box[1], cut.top + box[0], cut.mask)


def runs(patch: Patch, height: int, width: int) -> NDArray[np.int32]:
    """What `storage_schemas.boxes.encode_mask` gives for the pasted patch, at less cost."""
    rows = np.zeros((patch.mask.shape[0], patch.mask.shape[1] + 2), np.int8)
    rows[:, 1:-1] = patch.mask
    row, column = np.nonzero(np.diff(rows, axis=1))
    edges = (patch.top + row) * width + patch.left + column
    # A run that ends at the right border and goes on at the left one is a single run.
    twice = np.flatnonzero(np.diff(edges) == 0)
    edges = np.delete(edges, np.concatenate([twice, twice + 1]))
    bounds = np.concatenate([[0], edges, [height * width]])
    return np.diff(bounds).astype(np.int32)
