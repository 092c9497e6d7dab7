"""Overlap of boxes."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Intersection over union of boxes in pairs, ``xyxy`` over the last axis."""
    low = torch.maximum(a_N4[..., :2], b_N4[..., :2])
    high = torch.minimum(a_N4[..., 2:], b_N4[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a_N4, b_N4)]
    return overlap / (areas[0] + areas[1] - overlap)
