"""Colour augmentation of whole batches on the device, constant or smooth over time.

Parameters are drawn per clip from an explicit generator, pixels are changed by torch.

References
----------
ctp.md section 2, steps 5-7 (CtP's reference code, OpenCV hue units); the jitter of MoCo v2
and SimCLR with the semantics of torchvision's tensor operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stages.learning.colour import ColourLaw
from stages.learning.distributed import local_rows, world_size

_LUMA = (0.2989, 0.587, 0.114)
_OPERATIONS = 4


def augment(clips_BCTHW: Tensor, law: ColourLaw, rng: np.random.Generator) -> Tensor:
    """Change the colours of clips in 0..1, each clip by its own draw; see `ColourLaw`.

    Parameters
    ----------
    clips_BCTHW : Tensor of shape (B, 3, T, H, W), float32
    law : ColourLaw
    rng : numpy Generator
        The same on all ranks; each takes its rows of the draws.

    Returns
    -------
    Tensor of shape (B, 3, T, H, W), float32
    """
    draws = _Draws.sample(rng, law, len(clips_BCTHW) * world_size())
    rows = local_rows(len(clips_BCTHW))
    out = []
    for i, clip_CTHW in enumerate(clips_BCTHW, start=rows.start):
        steps = [_grey, _jitter] if law.grey_first else [_jitter, _grey]
        for step in [*steps, _blur, _solarise]:
            clip_CTHW = step(clip_CTHW, law, draws, i)
        out.append(clip_CTHW)
    return torch.stack(out)


@dataclass(frozen=True)
class _Draws:
    """What happens to each of N clips."""

    jittered_N: NDArray[np.bool_]
    order_N4: NDArray[np.int64]
    factors_N3: NDArray[np.float64]
    hue_N: NDArray[np.float64]
    grey_N: NDArray[np.bool_]
    blurred_N: NDArray[np.bool_]
    sigma_N: NDArray[np.float64]
    solarised_N: NDArray[np.bool_]

    @classmethod
    def sample(cls, rng: np.random.Generator, law: ColourLaw, count: int) -> _Draws:
        spread = np.array([law.brightness, law.contrast, law.saturation])
        return cls(
            jittered_N=rng.random(count) < law.jitter_probability,
            order_N4=rng.permuted(np.tile(np.arange(_OPERATIONS), (count, 1)), axis=1),
            factors_N3=rng.uniform(np.maximum(1 - spread, 0), 1 + spread, (count, 3)),
            hue_N=rng.uniform(-law.hue, law.hue, count),
            grey_N=rng.random(count) < law.grey_probability,
            blurred_N=rng.random(count) < law.blur_probability,
            sigma_N=rng.uniform(*law.blur_sigma, count),
            solarised_N=rng.random(count) < law.solarise_probability,
        )


def luma(clips_XCTHW: Tensor) -> Tensor:
    """Brightness as seen, one channel; the channel axis is the fourth from the end."""
    weights = torch.tensor(_LUMA, device=clips_XCTHW.device).view(3, 1, 1, 1)
    return (clips_XCTHW * weights).sum(-4, keepdim=True)


def _grey(clip_CTHW: Tensor, law: ColourLaw, draws: _Draws, i: int) -> Tensor:
    return luma(clip_CTHW).expand_as(clip_CTHW) if draws.grey_N[i] else clip_CTHW


def _jitter(clip_CTHW: Tensor, law: ColourLaw, draws: _Draws, i: int) -> Tensor:
    if not draws.jittered_N[i]:
        return clip_CTHW
    brightness, contrast, saturation = draws.factors_N3[i].tolist()
    for operation in draws.order_N4[i]:
        if operation == 0:
            clip_CTHW = (clip_CTHW * brightness).clamp(0, 1)
        elif operation == 1:
            pivot = (
                luma(clip_CTHW).mean()
                if law.contrast_around == "luma"
                else clip_CTHW.mean((1, 2, 3), keepdim=True)
            )
            clip_CTHW = torch.lerp(pivot.expand_as(clip_CTHW), clip_CTHW, contrast).clamp(0, 1)
        elif operation == 2:
            grey = luma(clip_CTHW).expand_as(clip_CTHW)
            clip_CTHW = torch.lerp(grey, clip_CTHW, saturation).clamp(0, 1)
        elif law.hue:
            clip_CTHW = shift_hue(clip_CTHW, float(draws.hue_N[i]))
    return clip_CTHW


def _blur(clip_CTHW: Tensor, law: ColourLaw, draws: _Draws, i: int) -> Tensor:
    if not draws.blurred_N[i]:
        return clip_CTHW
    taps = law.blur_taps or 2 * (clip_CTHW.shape[-1] // 10 // 2) + 1
    return gaussian_blur(clip_CTHW, sigma=float(draws.sigma_N[i]), taps=taps)


def _solarise(clip_CTHW: Tensor, law: ColourLaw, draws: _Draws, i: int) -> Tensor:
    if not draws.solarised_N[i]:
        return clip_CTHW
    return torch.where(clip_CTHW >= 0.5, 1 - clip_CTHW, clip_CTHW)


def shift_hue(clip_CTHW: Tensor, shift: float) -> Tensor:
    """Turn the hue of a clip in 0..1 by a share of the circle (HSV, wrapping)."""
    r, g, b = clip_CTHW
    value = clip_CTHW.amax(0)
    chroma = value - clip_CTHW.amin(0)
    safe = chroma.clamp(min=1e-12)
    sixth = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    offsets = torch.tensor([5.0, 3.0, 1.0], device=clip_CTHW.device).view(3, 1, 1, 1)
    k = (offsets + sixth + 6 * shift) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def gaussian_blur(clip_CTHW: Tensor, *, sigma: float, taps: int) -> Tensor:
    """Blur each frame; the kernel has `taps` values a side, edges are reflected."""
    at = torch.arange(taps, device=clip_CTHW.device) - (taps - 1) / 2
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    half = taps // 2
    planes = clip_CTHW.flatten(0, 1)[:, None]
    padded = functional.pad(planes, (half, half, half, half), mode="reflect")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1)).view_as(clip_CTHW)


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

    Returns float clips (B, T, H, W, 3) in 0..255. `rng` is the same on all ranks.
    """
    batch, num_frames = clips_BTHWC.shape[:2]
    total, mine = batch * world_size(), local_rows(batch)
    device = clips_BTHWC.device
    clips = clips_BTHWC.to(torch.float32)
    coloured = (rng.random(total) < 0.25)[mine]
    hue = rng.uniform(-12, 12, total)[mine]
    saturation = np.exp(rng.uniform(-0.1, 0.1, total))[mine]

    def curves(bound: float) -> NDArray[np.float32]:
        drawn = [smooth_curve(rng, num_frames=num_frames, bound=bound) for _ in range(total)]
        return np.asarray(np.stack(drawn) * (rng.random(total) < 0.5)[:, None])[mine]

    brightness_BT, contrast_BT = curves(30.0), curves(0.12)
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
