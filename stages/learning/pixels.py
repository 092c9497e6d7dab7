"""From stored pixels to the network's input: the one place that normalises."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(clips_BTHWC: Tensor) -> Tensor:
    """RGB clips (B, T, H, W, 3), uint8 or float in 0..255, to (B, 3, T, H, W) float32.

    ImageNet mean and standard deviation, as all five methods use.
    """
    mean = torch.tensor(MEAN, device=clips_BTHWC.device) * 255
    std = torch.tensor(STD, device=clips_BTHWC.device) * 255
    scaled = (clips_BTHWC.to(torch.float32) - mean) / std
    return scaled.permute(0, 4, 1, 2, 3).contiguous()
