"""Colour changes of CtP's fine-tuning, constant over a clip.

References
----------
ctp.md section 6a: each with probability 0.2, brightness, contrast, then hue and saturation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.learning.distributed import local_rows, world_size
from stages.learning.photometric import hue_saturation

_PROBABILITY = 0.2
_BRIGHTNESS, _CONTRAST, _HUE, _SATURATION = 32.0, 0.2, 12.0, 0.1  # hue in half degrees


def ctp_recognition_colour(clips_BTHWC: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips (B, T, H, W, 3), uint8, changed: float in 0..255. `rng` is the same on all ranks."""
    batch = len(clips_BTHWC)
    total, mine = batch * world_size(), local_rows(batch)
    on_B3 = (rng.random((total, 3)) < _PROBABILITY)[mine]
    bounds = np.array([_BRIGHTNESS, _CONTRAST, _HUE, _SATURATION])
    drawn_B4 = rng.uniform(-bounds, bounds, (total, 4))[mine]

    def column(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=clips_BTHWC.device)

    shape = (-1, 1, 1, 1, 1)
    added = column(np.where(on_B3[:, 0], drawn_B4[:, 0], 0)).view(shape)
    factor = column(np.where(on_B3[:, 1], np.exp(drawn_B4[:, 1]), 1)).view(shape)
    clips = (clips_BTHWC.to(torch.float32) + added).clamp_(0, 255).mul_(factor).clamp_(0, 255)
    rows = np.flatnonzero(on_B3[:, 2])
    if len(rows):
        at = torch.from_numpy(rows).to(clips.device)
        hue, saturation = column(drawn_B4[rows, 2]), column(np.exp(drawn_B4[rows, 3]))
        clips[at] = hue_saturation(clips[at], hue, saturation)
    return clips
