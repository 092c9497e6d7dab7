"""Pasting patches into a batch of clips on its device; same bytes as `stages.learning.paste`.

Shapes: B clips, K patches, T frames, S side of the crop; M boxes that are pasted at once,
P pixels that these cover.

Only covered pixels are touched: a list of all of them, each with the four pixels of its
patch that it lies between. A dense warp (`grid_sample`) would compute B*K*T*S*S pixels, of
which one in ten is used, and rounds differently on each device.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from storage_schemas.trajectories import SHAPES

_LOOKS = ("gain", "opacity", "source_frame", "shape", "edge")
_RECTANGLE, _ELLIPSE = SHAPES.index("rectangle"), SHAPES.index("ellipse")


def paste_batch(clips_BTSS3: Tensor, patches: Mapping[str, Tensor]) -> Tensor:
    """Paste patches into clips; the input stays as it is.

    Parameters
    ----------
    clips_BTSS3 : Tensor, uint8
    patches : mapping of str -> Tensor
        ``boxes`` (B, K, T, 4) and the stacked results of `paste.describe`; others are ignored.

    Returns
    -------
    Tensor of shape (B, T, S, S, 3), uint8
    """
    out_BTSS3 = clips_BTSS3.clone(memory_format=torch.contiguous_format)
    boxes_BKT4 = patches["boxes"].long()
    sides_BK2 = (boxes_BKT4[..., 2:] - boxes_BKT4[..., :2]).sum(2)
    order_BK = torch.argsort(sides_BK2.prod(-1), dim=1, descending=True, stable=True)
    clip_B = torch.arange(len(out_BTSS3), device=out_BTSS3.device)
    for k_B in order_BK.T:  # patches of one rank never share a frame
        one = {name: patches[name][clip_B, k_B] for name in _LOOKS}
        _paste_one(out_BTSS3, clips_BTSS3, boxes_BKT4[clip_B, k_B], one)
    return out_BTSS3


def _paste_one(
    out_BTSS3: Tensor, clips_BTSS3: Tensor, boxes_BT4: Tensor, patch: Mapping[str, Tensor]
) -> None:
    """Paste one patch into each clip, in place."""
    size = out_BTSS3.shape[2]
    clip_B = torch.arange(len(out_BTSS3), device=out_BTSS3.device)
    cut_B4 = boxes_BT4[clip_B, patch["source_frame"]]
    mask_BSS = _masks(cut_B4, patch["shape"], patch["edge"], size)
    clean_BSS3 = clips_BTSS3[clip_B, patch["source_frame"]].int()
    cut_BSS3 = (clean_BSS3 * patch["gain"][:, None, None, None] + 128 >> 8).clamp(max=255).byte()
    cut_BSS4 = torch.cat([cut_BSS3, mask_BSS[..., None]], -1)

    clip_M, frame_M = torch.nonzero(patch["opacity"], as_tuple=True)
    opacity_M = patch["opacity"][clip_M, frame_M]
    boxes_M4, cut_M4 = boxes_BT4[clip_M, frame_M], cut_B4[clip_M]
    sides_M2, cut_sides_M2 = (box[:, 2:] - box[:, :2] for box in (boxes_M4, cut_M4))
    area_M = sides_M2.prod(1)
    box_P = torch.repeat_interleave(area_M)
    place_P = torch.arange(len(box_P), device=box_P.device) - (area_M.cumsum(0) - area_M)[box_P]
    y_P = place_P // sides_M2[box_P, 0]
    x_P = place_P - y_P * sides_M2[box_P, 0]

    columns, rows = (_taps(sides_M2[:, i], cut_sides_M2[:, i], size) for i in (0, 1))
    left_P, right_P, share_x_P = (values_MS[box_P, x_P] for values_MS in columns)
    upper_P, lower_P, share_y_P = (values_MS[box_P, y_P] for values_MS in rows)
    # One 32-bit word a pixel: a tap is then one read instead of four.
    word_X = cut_BSS4.view(torch.int32).flatten()
    corner_P = (clip_M * size * size + cut_M4[:, 1] * size + cut_M4[:, 0])[box_P]

    def row(y_P: Tensor) -> Tensor:
        start_P = corner_P + y_P * size
        left_P4, right_P4 = (
            word_X[start_P + x_P].view(torch.uint8).view(-1, 4).int() for x_P in (left_P, right_P)
        )
        return left_P4 * 256 + (right_P4 - left_P4) * share_x_P[:, None]

    upper_P4, lower_P4 = row(upper_P), row(lower_P)
    found_P4 = (upper_P4 * 256 + (lower_P4 - upper_P4) * share_y_P[:, None] + 32768) >> 16
    alpha_P1 = (found_P4[:, 3:] * opacity_M[box_P, None] + 128) >> 8
    target_P = (clip_M * out_BTSS3.shape[1] + frame_M) * size + boxes_M4[:, 1]
    target_P = (target_P * size + boxes_M4[:, 0])[box_P] + y_P * size + x_P
    pixels_X3 = out_BTSS3.view(-1, 3)
    mixed_P3 = found_P4[:, :3] * alpha_P1 + pixels_X3[target_P].int() * (255 - alpha_P1)
    pixels_X3[target_P] = (mixed_P3 // 255).byte()


def _taps(sides_M: Tensor, cut_sides_M: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear resizing along one axis, as OpenCV's ``INTER_LINEAR_EXACT`` has it.

    Returns
    -------
    before, after, share : Tensor of shape (M, S)
        For each pixel of a box: the two pixels of the patch that it lies between, and how
        much of the second it takes, in 1/256.
    """
    # OpenCV divides twice; in doubles, so that ties round alike.
    step_M1 = (1 / (sides_M.double() / cut_sides_M.double()))[:, None]
    centre_MS = (torch.arange(size, device=sides_M.device) + 0.5) * step_M1 - 0.5
    last_M1 = cut_sides_M[:, None] - 1
    before_MS = centre_MS.floor()
    share_MS = ((centre_MS - before_MS) * 256).round().int()
    before_MS = before_MS.long()
    share_MS = share_MS.masked_fill((before_MS < 0) | (before_MS >= last_M1), 0)
    before_MS = torch.minimum(before_MS.clamp(min=0), last_M1)
    return before_MS, torch.minimum(before_MS + 1, last_M1), share_MS


def _masks(cut_B4: Tensor, shape_B: Tensor, edge_B: Tensor, size: int) -> Tensor:
    """Masks (B, S, S), uint8, each at the place of its box; see `paste.alpha_mask`."""
    corner_B2, sides_B2 = cut_B4[:, :2], cut_B4[:, 2:] - cut_B4[:, :2]
    middle_B2 = corner_B2 + (sides_B2 - 1) // 2
    cells_S = torch.arange(size, device=cut_B4.device)
    away_B2S = (cells_S - middle_B2[..., None]).abs() * sides_B2.flip(1)[..., None]
    dx, dy = away_B2S[:, 0, None, :].double(), away_B2S[:, 1, :, None].double()
    whole = sides_B2.prod(1)[:, None, None]
    kind, edge = shape_B[:, None, None], edge_B.double()[:, None, None]
    reach = torch.where(
        kind == _RECTANGLE,
        torch.maximum(dx, dy),
        torch.where(kind == _ELLIPSE, (dx * dx + dy * dy).sqrt(), dx + dy),
    )
    soft = ((0.5 - reach / whole) / (0.5 - edge)).clamp(0, 1)
    hard = ((2 * reach < whole) | (kind == _RECTANGLE)).double()
    return (torch.where(edge > 0, soft, hard) * 255).round().byte()
