"""Colour augmentation of whole batches on the device, constant or smooth over time.

Parameters are drawn per clip from an explicit generator, pixels are changed by torch.

References
----------
ctp.md section 2, steps 5-7 (CtP's reference code, OpenCV hue units).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def hue_saturation(clips_BTHWC: Tensor, hue_shift_B: Tensor, saturation_factor_B: Tensor) -> Tensor:
    """Shift hue and scale saturation of RGB clips in 0..255.

    Parameters
    ----------
    clips_BTHWC : Tensor, float
    hue_shift_B : Tensor
        In OpenCV's 8-bit units (0..179 for the circle); the sum is clamped, not wrapped,
        as the reference does.
    saturation_factor_B : Tensor
    """
    r, g, b = clips_BTHWC.unbind(-1)
    value = clips_BTHWC.amax(-1)
    chroma = value - clips_BTHWC.amin(-1)
    safe = chroma.clamp(min=1e-6)
    hue = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    hue = torch.where(chroma > 0, hue * 30, torch.zeros_like(hue)) % 180
    saturation = chroma / value.clamp(min=1e-6)
    shape = (-1, 1, 1, 1)
    hue = (hue + hue_shift_B.view(shape)).clamp(0, 179) / 30
    saturation = (saturation * saturation_factor_B.view(shape)).clamp(0, 1)
    # Closed form of HSV -> RGB: one expression a channel, no sextant table.
    offsets = torch.tensor([5.0, 3.0, 1.0], device=clips_BTHWC.device)
    k = (offsets + hue[..., None]) % 6
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)


def smooth_curve(
    rng: np.random.Generator, *, num_frames: int, bound: float, inner_probability: float = 0.3
) -> NDArray[np.float32]:
    """A value over time: U(-bound, bound) at 2 or 3 key frames, linear in between.

    The inner key frame lies near the middle, off by at most a sixth of the clip.
    """
    ticks = [0, num_frames - 1]
    if rng.random() < inner_probability and num_frames > 2:
        jitter = num_frames // 6
        middle = num_frames // 2 + (int(rng.integers(-jitter, jitter)) if jitter else 0)
        ticks = [0, min(max(middle, 1), num_frames - 2), num_frames - 1]
    values = rng.uniform(-bound, bound, size=len(ticks))
    return np.interp(np.arange(num_frames), ticks, values).astype(np.float32)


def ctp_colour(clips_BTHWC: Tensor, rng: np.random.Generator) -> Tensor:
    """CtP's chain on uint8 clips: hue/saturation .25, brightness .5, contrast .5.

    Returns float clips (B, T, H, W, 3) in 0..255.
    """
    batch, num_frames = clips_BTHWC.shape[:2]
    device = clips_BTHWC.device
    clips = clips_BTHWC.to(torch.float32)
    coloured = rng.random(batch) < 0.25
    hue = rng.uniform(-12, 12, batch)
    saturation = np.exp(rng.uniform(-0.1, 0.1, batch))
    brightness_BT = (
        np.stack([smooth_curve(rng, num_frames=num_frames, bound=30.0) for _ in range(batch)])
        * (rng.random(batch) < 0.5)[:, None]
    )
    contrast_BT = (
        np.stack([smooth_curve(rng, num_frames=num_frames, bound=0.12) for _ in range(batch)])
        * (rng.random(batch) < 0.5)[:, None]
    )
    rows = torch.as_tensor(np.flatnonzero(coloured), device=device)
    if len(rows):
        clips = clips.index_copy(
            0,
            rows,
            hue_saturation(
                clips[rows],
                torch.as_tensor(hue[coloured], dtype=torch.float32, device=device),
                torch.as_tensor(saturation[coloured], dtype=torch.float32, device=device),
            ),
        )
    shape = (batch, num_frames, 1, 1, 1)
    added = torch.as_tensor(brightness_BT, dtype=torch.float32, device=device).view(shape)
    factor = torch.as_tensor(np.exp(contrast_BT), dtype=torch.float32, device=device).view(shape)
    clips = (clips + added).clamp(0, 255)
    return (clips * factor).clamp(0, 255)
