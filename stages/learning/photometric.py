"""Colour augmentation of whole batches on the device, constant or smooth over time.

Parameters are drawn per clip from an explicit generator, pixels are changed by torch.

References
----------
ctp.md section 2, steps 5-7 (CtP's reference code, OpenCV hue units); the jitter of MoCo v2
and SimCLR with the semantics of torchvision's tensor operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.learning.colour import ColourLaw
from stages.learning.distributed import local_rows, world_size
from stages.learning.gaussian_blur import default_taps, gaussian_blur
from stages.learning.pixels import MEAN, STD, standardise_, to_unit

_LUMA = (0.2989, 0.587, 0.114)
_NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # factors of brightness, contrast, saturation, hue
_OPERATIONS = len(_NEUTRAL)
_Change = Callable[..., None]  # changes clips in place by factors


def network_input(
    clips_BTHWC: Tensor,
    rng: np.random.Generator,
    *,
    law: ColourLaw | None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """Stored clips (B, T, H, W, 3), uint8, as an encoder sees them: (B, 3, T, H, W).

    Colours are changed by `law`, if there is one, before the channels are standardised.
    """
    clips_BCTHW = to_unit(clips_BTHWC)
    if law is not None:
        clips_BCTHW = augment(clips_BCTHW, law, rng)
    return standardise_(clips_BCTHW, mean=mean, std=std)  # a copy of our own


def augment(
    clips_BCTHW: Tensor, law: ColourLaw, rng: np.random.Generator, *, at_once: int | None = None
) -> Tensor:
    """Change the colours of clips in 0..1, each clip by its own draw; see `ColourLaw`.

    Parameters
    ----------
    clips_BCTHW : Tensor of shape (B, 3, T, H, W), float32
        Stays as it is.
    law : ColourLaw
    rng : numpy Generator
        The same on all ranks; each takes its rows of the draws.
    at_once : int, optional
        Clips changed by one operation; the result does not depend on it. By default one on
        a CPU, where it stays in the cache, and all on a GPU, which wants few operations.

    Returns
    -------
    Tensor of shape (B, 3, T, H, W), float32

    Raises
    ------
    ParameterError
        If the blur's kernel is too large for the frames.
    """
    batch = len(clips_BCTHW)
    draws = Draws.sample(rng, law, batch * world_size()).rows(local_rows(batch))
    out = clips_BCTHW.clone()
    at_once = at_once or (1 if clips_BCTHW.device.type == "cpu" else batch)
    for start in range(0, batch, at_once):
        rows = slice(start, start + at_once)
        _change(out[rows], law, draws.rows(rows))
    return out


@dataclass(frozen=True)
class Draws:
    """What happens to each of N clips.

    ``factors_N4`` are of brightness, contrast, saturation and hue; ``order_N4`` numbers
    these four in the order of their turns.
    """

    jittered_N: NDArray[np.bool_]
    order_N4: NDArray[np.int64]
    factors_N4: NDArray[np.float64]
    grey_N: NDArray[np.bool_]
    blurred_N: NDArray[np.bool_]
    sigma_N: NDArray[np.float64]
    solarised_N: NDArray[np.bool_]

    @classmethod
    def sample(cls, rng: np.random.Generator, law: ColourLaw, count: int) -> Draws:
        """Draw for `count` clips."""
        spread = np.array([law.brightness, law.contrast, law.saturation])
        low, high = [*np.maximum(1 - spread, 0), -law.hue], [*(1 + spread), law.hue]
        return cls(
            jittered_N=rng.random(count) < law.jitter_probability,
            order_N4=rng.permuted(np.tile(np.arange(_OPERATIONS), (count, 1)), axis=1),
            factors_N4=rng.uniform(low, high, (count, _OPERATIONS)),
            grey_N=rng.random(count) < law.grey_probability,
            blurred_N=rng.random(count) < law.blur_probability,
            sigma_N=rng.uniform(*law.blur_sigma, count),
            solarised_N=rng.random(count) < law.solarise_probability,
        )

    def rows(self, rows: slice) -> Draws:
        """Draws of some of the clips."""
        return Draws(*(getattr(self, field.name)[rows] for field in fields(self)))


def _change(clips: Tensor, law: ColourLaw, draws: Draws) -> None:
    """Change clips (B, 3, T, H, W) in place; what is off for a clip costs nothing."""

    def apply(
        chosen_B: NDArray[np.bool_], change: _Change, *factors_B: NDArray[np.float64]
    ) -> None:
        if not chosen_B.any():
            return
        rows = np.flatnonzero(chosen_B)
        factors = [_column(factor_B[rows], clips.device) for factor_B in factors_B]
        if len(rows) == len(clips):
            change(clips, *factors)
        else:
            at = torch.from_numpy(rows).to(clips.device)
            some = clips[at]
            change(some, *factors)
            clips[at] = some

    def jitter() -> None:
        changes: list[_Change] = [
            brightness_, partial(contrast_, around=law.contrast_around), saturation_, hue_,
        ]  # fmt: skip
        for place, operation in itertools.product(range(_OPERATIONS), repeat=2):
            factor_N = draws.factors_N4[:, operation]
            turn_N = draws.jittered_N & (draws.order_N4[:, place] == operation)
            apply(turn_N & (factor_N != _NEUTRAL[operation]), changes[operation], factor_N)

    if law.grey_first:
        apply(draws.grey_N, grey_)
    jitter()
    if not law.grey_first:
        apply(draws.grey_N, grey_)
    apply(draws.blurred_N, partial(blur_, taps=law.blur_taps), draws.sigma_N)
    apply(draws.solarised_N, solarise_)


def _column(factor_B: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(factor_B).to(device, torch.float32).view(-1, 1, 1, 1, 1)


def luma(clips_XCTHW: Tensor) -> Tensor:
    """Brightness as seen, one channel; the channel axis is the fourth from the end."""
    r, g, b = clips_XCTHW.unbind(-4)
    return (r * _LUMA[0]).add_(g, alpha=_LUMA[1]).add_(b, alpha=_LUMA[2]).unsqueeze(-4)


# What follows changes clips (B, 3, T, H, W) in place; factors are of shape (B, 1, 1, 1, 1).


def grey_(clips: Tensor) -> None:
    """Luma in all channels."""
    clips.copy_(luma(clips))


def brightness_(clips: Tensor, factor: Tensor) -> None:
    """Multiply."""
    clips.mul_(factor).clamp_(max=1)


def contrast_(clips: Tensor, factor: Tensor, *, around: str) -> None:
    """Away from the mean, or towards it; see `ColourLaw`."""
    pivot = clips.mean((3, 4) if around == "frame_luma" else (2, 3, 4), keepdim=True)
    if around != "channels":
        pivot = luma(pivot)
    clips.mul_(factor).add_(pivot * (1 - factor)).clamp_(0, 1)


def saturation_(clips: Tensor, factor: Tensor) -> None:
    """Away from luma, or towards it."""
    grey = luma(clips)
    clips.mul_(factor).add_(grey.mul_(1 - factor)).clamp_(0, 1)


def hue_(clips: Tensor, shift: Tensor) -> None:
    """Turn the hue by a share of the circle (HSV, wrapping)."""
    r, g, b = clips.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    low = torch.minimum(torch.minimum(r, g), b)
    chroma = value - low
    # Sixths of the circle, times chroma. Weights of 0 and 1: `where` is four times as slow.
    red, green = torch.empty_like(value), torch.empty_like(value)
    torch.eq(value, r, out=red)
    torch.eq(value, g, out=green)
    hue = (r - g).add_(chroma, alpha=4).lerp_((b - r).add_(chroma, alpha=2), green)
    hue.lerp_(g - b, red)
    hue.div_(chroma.clamp(min=1e-12)).add_(shift[:, 0], alpha=6)
    hue.sub_(torch.floor(hue / 6), alpha=6)
    torch.sub(hue, 3, out=r).abs_().sub_(1)
    torch.sub(hue, 2, out=g).abs_().neg_().add_(2)
    torch.sub(hue, 4, out=b).abs_().neg_().add_(2)
    clips.clamp_(0, 1).mul_(chroma[:, None]).add_(low[:, None])


def blur_(clips: Tensor, sigma: Tensor, *, taps: int | None) -> None:
    """Blur each frame; by default with the kernel of `default_taps`."""
    taps = taps or default_taps(clips.shape[-1])
    blurred = gaussian_blur(clips.flatten(1, 2), sigma_B=sigma.flatten(), taps=taps)
    clips.copy_(blurred.view_as(clips))


def solarise_(clips: Tensor) -> None:
    """Invert what is bright."""
    clips.copy_(torch.where(clips >= 0.5, 1 - clips, clips))


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
