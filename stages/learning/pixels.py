"""From stored pixels to the network's input: the one place that normalises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.learning.standardisation import IMAGENET

MEAN, STD = IMAGENET


def to_unit(clips_BTHWC: Tensor) -> Tensor:
    """RGB clips (B, T, H, W, 3), uint8, to (B, 3, T, H, W), float32 in 0..1."""
    return _channels_first(clips_BTHWC).div_(255)


def standardise(
    clips_BCTHW: Tensor,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """Clips (B, 3, T, H, W) in 0..1, minus the mean, over the deviation of each channel."""
    return standardise_(clips_BCTHW.clone(), mean=mean, std=std)


def standardise_(clips_BCTHW: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """`standardise` in place."""
    shape = (1, 3, 1, 1, 1)
    mean_C, std_C = (torch.tensor(v, device=clips_BCTHW.device).view(shape) for v in (mean, std))
    return clips_BCTHW.sub_(mean_C).div_(std_C)


def normalise(
    clips_BTHWC: Tensor,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """RGB clips (B, T, H, W, 3), uint8 or float in 0..255, to (B, 3, T, H, W) float32."""
    shape = (1, 3, 1, 1, 1)
    mean_C, std_C = (
        torch.tensor(v, device=clips_BTHWC.device).view(shape) * 255 for v in (mean, std)
    )
    return _channels_first(clips_BTHWC).sub_(mean_C).div_(std_C)


def _channels_first(clips_BTHWC: Tensor) -> Tensor:
    """A float32 copy (B, 3, T, H, W), which the caller may change: memory is what costs."""
    turned = clips_BTHWC.permute(0, 4, 1, 2, 3)
    return torch.empty(turned.shape, dtype=torch.float32, device=turned.device).copy_(turned)
