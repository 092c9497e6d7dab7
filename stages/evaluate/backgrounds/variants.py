"""The eight variants of a frame: what is left of foreground and background.

Notes
-----
Names are those of the images' challenge; PreViTS' video sets are called ``jhmdb_original``,
``_fg``, ``_bg``, ``_bg_b``, ``_bg_t``, ``_mix_same``, ``_mix_rand`` and ``_mix_next``, in this
order. That ``_bg`` is No-FG is inferred from them.

References
----------
Xiao et al., *Noise or Signal: The Role of Image Backgrounds in Object Recognition*, ICLR
2021, and their script that makes such images (roleofimagebackgrounds); Chen et al.,
*PreViTS*, WACV 2023; specs/downstream.md sections 9 and 10.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Variant = Literal[
    "Original",
    "Only-FG",
    "No-FG",
    "Only-BG-B",
    "Only-BG-T",
    "Mixed-Same",
    "Mixed-Rand",
    "Mixed-Next",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
MIXED: tuple[Variant, ...] = ("Mixed-Same", "Mixed-Rand", "Mixed-Next")


def make_variant(
    variant: Variant,
    frames_THWC: NDArray[np.uint8],
    masks_THW: NDArray[np.bool_],
    *,
    holes_THW: NDArray[np.bool_] | None = None,
    background_THWC: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Frames of a variant.

    Parameters
    ----------
    variant : str
        ========== =========================================================================
        Original   the frames
        Only-FG    the foreground before black
        No-FG      the foreground is black
        Only-BG-B  the tight box of `holes_THW` is black, in each frame
        Only-BG-T  that box is filled with tiles, see `tiled`
        Mixed-*    the foreground before `background_THWC`, Only-BG-T of another video
        ========== =========================================================================
    frames_THWC : ndarray of shape (T, H, W, 3), uint8
    masks_THW : ndarray of shape (T, H, W), bool
        The foreground.
    holes_THW : ndarray of shape (T, H, W), bool, optional
        What the box of Only-BG is drawn around, if not the foreground.
    background_THWC : ndarray of shape (T, H, W, 3), uint8, optional
        Of the mixed variants.

    Returns
    -------
    ndarray of shape (T, H, W, 3), uint8
        Only-FG and No-FG add up to the original; a pixel of a mixed variant is one of the
        original or one of the background, never a blend.
    """
    holes_THW = masks_THW if holes_THW is None else holes_THW
    match variant:
        case "Original":
            return frames_THWC
        case "Only-FG":
            return pasted(frames_THWC, masks_THW, np.zeros_like(frames_THWC))
        case "No-FG":
            return pasted(np.zeros_like(frames_THWC), masks_THW, frames_THWC)
        case "Only-BG-B":
            return without_box(frames_THWC, holes_THW, tiles=False)
        case "Only-BG-T":
            return without_box(frames_THWC, holes_THW, tiles=True)
        case _:
            assert background_THWC is not None
            return pasted(frames_THWC, masks_THW, background_THWC)


def pasted(
    foreground_THWC: NDArray[np.uint8],
    masks_THW: NDArray[np.bool_],
    background_THWC: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """A copy of the background with the foreground where the mask is true."""
    import cv2

    out_THWC = background_THWC.copy()
    for i, mask_HW in enumerate(masks_THW):  # numpy.where takes 12 times as long
        cv2.copyTo(foreground_THWC[i], mask_HW.view(np.uint8), out_THWC[i])
    return out_THWC


def without_box(
    frames_THWC: NDArray[np.uint8], masks_THW: NDArray[np.bool_], *, tiles: bool
) -> NDArray[np.uint8]:
    """Frames whose tight box around the mask is black, or filled with tiles."""
    out_THWC = frames_THWC.copy()
    for frame_HWC, mask_HW in zip(out_THWC, masks_THW, strict=True):
        ys, xs = (np.flatnonzero(mask_HW.any(axis)) for axis in (1, 0))
        if len(ys):
            box = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
            frame_HWC[box] = tiled(frame_HWC, box) if tiles else 0
    return out_THWC


def tiled(frame_HWC: NDArray[np.uint8], box: tuple[slice, slice]) -> NDArray[np.uint8]:
    """What a box (rows, columns) is filled with: the largest strip beside it, repeated.

    The strips are all that lies below, above, right or left of the box, the first of equally
    large ones wins. It is repeated over the whole frame from the frame's corner, of which the
    box shows its part, as the images' authors do. Black where the box is the whole frame.
    """
    rows, columns = box
    strips = (
        frame_HWC[rows.stop :],
        frame_HWC[: rows.start],
        frame_HWC[:, columns.stop :],
        frame_HWC[:, : columns.start],
    )
    strip_HWC = max(strips, key=lambda strip: strip.size)
    ys, xs = np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)
    if not strip_HWC.size:
        return np.zeros((len(ys), len(xs), 3), np.uint8)
    height, width, _ = strip_HWC.shape
    return strip_HWC[ys[:, None] % height, xs % width]
