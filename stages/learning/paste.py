"""Pasting patches into a clip: what CtP's trajectories look like in pixels.

Shapes: K patches, T frames, S side of the crop.

All arithmetic is in integers, so that this function, which pastes one clip on a CPU, and
`stages.learning.paste_batch`, which pastes a batch on any device, give the same bytes:

- a patch and its mask, one image of four channels, are resized by OpenCV's bit-exact
  bilinear interpolation, whose weights are multiples of 1/256;
- ``alpha = (mask * opacity + 128) >> 8`` with a mask of 0..255 and an opacity of 0..256;
- ``out = (patch * alpha + under * (255 - alpha)) // 255``.

References
----------
specs/ctp.md sections 3.5-3.7 (reference code of CtP, CVPR 2021).

Notes
-----
The reference multiplies in floating point. Eight bits for alpha move a pixel by at most two
grey levels, at soft edges; where a patch lies on its own pixels nothing changes at all
(the reference: by up to one level).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from storage_schemas.trajectories import SHAPES, Patches

OPAQUE = 256  # opacity of 1
UNIT_GAIN = 256


def paste_patches(
    clip_THWC: NDArray[np.uint8], patches: Patches, *, gain_K: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """Paste patches into a clip; the input stays as it is.

    Parameters
    ----------
    clip_THWC : ndarray of shape (T, S, S, 3), uint8
    patches : Patches
        One entry of a bank.
    gain_K : ndarray of shape (K,), float, optional
        Factor on the pixels of each patch; the reference has none.

    Returns
    -------
    ndarray of shape (T, S, S, 3), uint8

    Notes
    -----
    All patches are cut from the clean clip. Larger ones are pasted first, so that small
    ones end on top. Invisible frames keep their pixels.
    """
    out_THWC = np.array(clip_THWC, order="C")
    opacity_KT = weigh(patches)
    boxes_KT4 = patches.boxes_KT4.tolist()
    for k in paste_order(patches.boxes_KT4):
        source = int(patches.source_frame_K[k])
        x1, y1, x2, y2 = boxes_KT4[k][source]
        cut_HW4 = np.empty((y2 - y1, x2 - x1, 4), np.uint8)
        cut_HW4[..., :3] = clip_THWC[source, y1:y2, x1:x2]
        if gain_K is not None:
            cut_HW4[..., :3] = brighten_table(weigh_gain(gain_K)[k])[cut_HW4[..., :3]]
        cut_HW4[..., 3] = alpha_mask(
            SHAPES[patches.shape_K[k]], patches.edge_K[k], height=y2 - y1, width=x2 - x1
        )
        resized: dict[tuple[int, int], tuple[NDArray[np.uint16], NDArray[np.uint16]]] = {}
        for image_HWC, (x1, y1, x2, y2), opacity in zip(
            out_THWC, boxes_KT4[k], opacity_KT[k].tolist(), strict=True
        ):
            if opacity == 0:
                continue
            size = (x2 - x1, y2 - y1)
            if size not in resized:  # three frames in ten have the size of another
                resized[size] = _resize(cut_HW4, size)
            pixels_HWC, mask_HWC = resized[size]
            alpha_HWC = mask_HWC * np.uint16(opacity)
            alpha_HWC += 128
            alpha_HWC >>= 8
            under_HWC = image_HWC[y1:y2, x1:x2]
            mixed_HWC = pixels_HWC * alpha_HWC
            np.subtract(255, alpha_HWC, out=alpha_HWC)
            alpha_HWC *= under_HWC
            mixed_HWC += alpha_HWC
            mixed_HWC //= 255
            under_HWC[...] = mixed_HWC
    return out_THWC


def brighten_table(gain: int) -> NDArray[np.uint8]:
    """New grey level of each grey level, (256,); ``gain`` in 1/256."""
    return np.minimum((np.arange(256) * int(gain) + 128) >> 8, 255).astype(np.uint8)


def weigh_gain(gain_K: NDArray[np.float64]) -> NDArray[np.int32]:
    """Gains in 1/256."""
    return np.rint(gain_K * UNIT_GAIN).astype(np.int32)


def _resize(
    cut_HW4: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Pixels and mask, both of three channels; ``size`` is (width, height)."""
    found = cv2.resize(cut_HW4, size, interpolation=cv2.INTER_LINEAR_EXACT)
    pixels = cv2.cvtColor(found, cv2.COLOR_RGBA2RGB)
    mask = cv2.cvtColor(cv2.extractChannel(found, 3), cv2.COLOR_GRAY2RGB)
    return pixels.astype(np.uint16), mask.astype(np.uint16)


def weigh(patches: Patches) -> NDArray[np.uint16]:
    """Opacity of each patch in each frame, (K, T), in 0..256; 0 where it is invisible."""
    weight_KT = np.rint(patches.opacity_KT * OPAQUE).astype(np.uint16)
    return weight_KT * patches.visible_KT


def describe(
    patches: Patches, *, gain_K: NDArray[np.float64] | None = None
) -> dict[str, NDArray[np.generic]]:
    """What `paste_batch` needs of one clip's patches besides their boxes; one row a patch."""
    return {
        "gain": weigh_gain(np.ones(len(patches.edge_K)) if gain_K is None else gain_K),
        "opacity": weigh(patches).astype(np.int32),
        "source_frame": patches.source_frame_K.astype(np.int64),
        "shape": patches.shape_K.astype(np.int64),
        "edge": np.array(patches.edge_K),
    }


def paste_order(boxes_KT4: NDArray[np.int16]) -> list[int]:
    """Patches by falling area, the mean width times the mean height over time."""
    sides_K2 = (boxes_KT4[..., 2:] - boxes_KT4[..., :2]).sum(1, dtype=np.int64)
    order: list[int] = np.argsort(-sides_K2.prod(-1), kind="stable").tolist()
    return order


def alpha_mask(
    shape: str, edge: float | np.float32, *, height: int, width: int
) -> NDArray[np.uint8]:
    """Mask of a patch, (height, width), 255 where it is opaque (ctp.md section 3.6).

    ``edge`` is the start of the soft edge, 0 for a hard one.
    """
    dx = np.abs(np.arange(width) - (width - 1) // 2)[None] * height
    dy = np.abs(np.arange(height) - (height - 1) // 2)[:, None] * width
    whole = width * height  # integers as long as possible: no tie depends on rounding
    if shape == "rectangle":
        reach = np.maximum(dx, dy)
    elif shape == "ellipse":
        reach = np.sqrt(dx * dx + dy * dy)
    else:
        reach = dx + dy
    if edge > 0:
        mask = np.clip((0.5 - reach / whole) / (0.5 - float(edge)), 0, 1)
        return np.rint(mask * 255).astype(np.uint8)
    if shape == "rectangle":
        return np.full((height, width), 255, np.uint8)
    return (2 * reach < whole) * np.uint8(255)
