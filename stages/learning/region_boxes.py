"""Boxes of a view that a method looks at: drawn at random, or proposals seen through its crop.

Free of torch; boxes are ``xyxy``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.learning.views import ResizedCrop
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError
from storage_schemas.frames import Frames

BOX_WIDTH = (0.1, 0.5)
BOX_ASPECT = (0.5, 2.0)
_END = 0.999
_SLIVER = 0.001  # what stays of a box that starts beyond the end


def random_boxes(
    rng: np.random.Generator, count: int, *, correlated: bool = False
) -> NDArray[np.float32]:
    """Boxes (count, 4) as fractions of a view, as ConST-CL draws them.

    Parameters
    ----------
    rng : numpy Generator
    count : int
    correlated : bool
        Give a box one number for its place, width and aspect, as the released code does by
        giving its four draws one seed: all boxes lie on the diagonal and grow along it.

    References
    ----------
    constcl.md sections 2.3 and 8: corner U(0, 1), width U(0.1, 0.5), height = width * U(0.5,
    2), cut at 0.999.
    """
    u = np.tile(rng.random(count), (4, 1)) if correlated else rng.random((4, count))
    low = np.minimum(u[:2], _END - _SLIVER)
    width = BOX_WIDTH[0] + u[2] * (BOX_WIDTH[1] - BOX_WIDTH[0])
    height = width * (BOX_ASPECT[0] + u[3] * (BOX_ASPECT[1] - BOX_ASPECT[0]))
    high = np.minimum(u[:2] + np.stack([width, height]), _END)
    return np.concatenate([low, high]).T.astype(np.float32)


def boxes_near(
    boxes: Boxes, frames: Frames, *, frame: int, reach: int
) -> tuple[slice, NDArray[np.float32]]:
    """Rows of the nearest frame that has boxes, and these in pixels of the stored frames.

    Parameters
    ----------
    boxes : Boxes
        Of the same stored frames, of any resolution.
    frames : Frames
    frame : int
        Stored frame.
    reach : int
        How many frames away the nearest may lie; beyond, there are no rows.

    Raises
    ------
    ParameterError
        If boxes and frames count differently.
    """
    if boxes.num_frames != len(frames):
        raise ParameterError(
            f"boxes were made for {boxes.num_frames} frames, the shard has {len(frames)}: "
            f"bind both to the same decode",
            video_id=frames.video_id,
        )
    rows = slice(0, 0)
    if len(boxes):
        nearest = int(boxes.frame[np.abs(boxes.frame - frame).argmin()])
        if abs(nearest - frame) <= reach:
            rows = boxes.in_frame(nearest)
    scale = np.array([frames.width / boxes.width, frames.height / boxes.height] * 2)
    return rows, (boxes.xyxy[rows] * scale).astype(np.float32)


def proposals_in_view(
    proposals: Boxes,
    frames: Frames,
    *,
    frame: int,
    crop: ResizedCrop,
    count: int,
    min_side: float,
    reach: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Proposals of a frame through the crop and flip of a view.

    Parameters
    ----------
    proposals : Boxes
        Of the same stored frames, of any resolution.
    frames : Frames
    frame : int
        Stored frame; where it has no proposals, the nearest that has is taken.
    crop : ResizedCrop
    count : int
        Boxes to return, N; of more, some are chosen at random.
    min_side : float
        Boxes with a side that is less than this share of the view are dropped.
    reach : int
        How many frames away the nearest may lie.

    Returns
    -------
    boxes : ndarray of shape (N, 4), float32
        Pixels of the view; rows without a box are 0.
    valid : ndarray of shape (N,), bool
        Which rows hold a box; they come first.

    Raises
    ------
    ParameterError
        If proposals and frames count differently.
    """
    boxes_N4, valid_N = np.zeros((count, 4), np.float32), np.zeros(count, np.bool_)
    _, stored_K4 = boxes_near(proposals, frames, frame=frame, reach=reach)
    seen_K4 = crop.apply_boxes(stored_K4)
    large = (seen_K4[:, 2:] - seen_K4[:, :2]).min(1) >= min_side * crop.size
    chosen = rng.permutation(np.flatnonzero(large))[:count]
    boxes_N4[: len(chosen)], valid_N[: len(chosen)] = seen_K4[chosen], True
    return boxes_N4, valid_N
