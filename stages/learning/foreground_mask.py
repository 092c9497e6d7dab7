"""The moving foreground of clips, without a detector: motion, then colours of what moves.

Pixels that move most and least are seeds; every pixel is then ranked by how much likelier
its colour is among the moving ones. One mask stands for all frames of a clip.

Shapes: B clips, P = H * W pixels, K colour bins.

References
----------
Ding et al., *Motion-aware Contrastive Video Representation Learning via
Foreground-background Merging*, CVPR 2022; fame.md section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stages.learning.foreground import Foreground
from stages.learning.gaussian_blur import gaussian_blur


@torch.no_grad()
def foreground_masks(clips_BCTHW: Tensor, law: Foreground) -> Tensor:
    """Masks of the moving foreground.

    Parameters
    ----------
    clips_BCTHW : Tensor of shape (B, 3, T, H, W), float32 in 0..1
        Before colours are changed or standardised.
    law : Foreground

    Returns
    -------
    Tensor of shape (B, H, W), bool
        ``int(law.area * H * W)`` pixels of each mask are true, also where nothing moves;
        among equal pixels the choice is arbitrary.
    """
    height, width = clips_BCTHW.shape[-2:]
    if law.by == "centre":
        scores_BHW = _nearness(clips_BCTHW)
    else:
        scores_BHW = _blur(frame_difference(clips_BCTHW), law)
        if law.by == "colour":
            bins_BP = colour_bins(clips_BCTHW.mean(2), law).flatten(1)
            likelihood_BP = moving_likelihood(bins_BP, scores_BHW.flatten(1), law)
            scores_BHW = _blur(likelihood_BP.view_as(scores_BHW), law)
    scores_BP = scores_BHW.flatten(1)
    chosen = scores_BP.topk(int(law.area * height * width), sorted=False).indices
    masks_BP = torch.zeros_like(scores_BP, dtype=torch.bool).scatter_(1, chosen, value=True)
    return masks_BP.view_as(scores_BHW)


def merge(clips_BCTHW: Tensor, masks_BHW: Tensor, background_B: Sequence[int]) -> Tensor:
    """Foreground of each clip over the whole clip ``background_B[i]``, frame by frame."""
    # Weights of 0 and 1 give exact pixels and are faster than `torch.where`.
    weights = masks_BHW[:, None, None].to(clips_BCTHW)
    out = torch.empty_like(clips_BCTHW)
    for i, other in enumerate(background_B):
        torch.lerp(clips_BCTHW[other], clips_BCTHW[i], weights[i], out=out[i])
    return out


def frame_difference(clips_BCTHW: Tensor) -> Tensor:
    """Absolute change (B, H, W) from frame to frame, summed over colours, mean over time."""
    # Clip by clip: one difference stays in a processor's cache, that of a batch does not.
    sums = [(clip[:, 1:] - clip[:, :-1]).abs_().sum((0, 1)) for clip in clips_BCTHW]
    return torch.stack(sums) / max(1, clips_BCTHW.shape[2] - 1)


def colour_bins(images_BCHW: Tensor, law: Foreground) -> Tensor:
    """Bin (B, H, W) of each RGB colour in 0..1: saturation-hue plane, then value."""
    hue, saturation, value = hue_saturation_value(images_BCHW).unbind(1)
    turns = 2 * math.pi if law.hue == "reference" else 1
    plane_a = (saturation * torch.cos(turns * hue) + 1) / 2
    plane_b = (saturation * torch.sin(turns * hue) + 1) / 2
    # Half-way values go to the even neighbour after 1 is added: grey falls in bin 5 of 0..9.
    a, b, v = (torch.round((law.bins - 1) * u + 1).long() - 1 for u in (plane_a, plane_b, value))
    return a + law.bins * b + law.bins**2 * v


def hue_saturation_value(images_BCHW: Tensor) -> Tensor:
    """HSV (B, 3, H, W) of RGB in 0..1; hue in radians."""
    r, g, b = images_BCHW.unbind(1)
    value = images_BCHW.amax(1)
    chroma = value - images_BCHW.amin(1)
    safe = torch.where(chroma > 0, chroma, 1)
    sixth = torch.where(
        value == r,
        (g - b) / safe % 6,
        torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4),
    )
    return torch.stack([sixth * (math.pi / 3), chroma / (value + 1e-8), value], dim=1)


def moving_likelihood(bins_BP: Tensor, motion_BP: Tensor, law: Foreground) -> Tensor:
    """How likely the colour of each pixel (B, P) belongs to what moves, in 0..1.

    The still colours' histogram is smoothed by one count a bin, the moving ones' is not.
    """
    pixels, size = bins_BP.shape[1], law.bins**3
    moving, still = (max(1, int(share * pixels)) for share in (law.moving_seeds, law.still_seeds))

    def counts(seeds: Tensor) -> Tensor:
        found = bins_BP.gather(1, seeds)
        empty = motion_BP.new_zeros(len(bins_BP), size)
        return empty.scatter_add_(1, found, torch.ones_like(found, dtype=empty.dtype))

    moving_BK = counts(motion_BP.topk(moving, sorted=False).indices) / moving
    still_BK = counts(motion_BP.topk(still, largest=False, sorted=False).indices)
    still_BK = (still_BK + 1) / (still + size)
    return (moving_BK / (moving_BK + still_BK)).gather(1, bins_BP)


def _blur(images_BHW: Tensor, law: Foreground) -> Tensor:
    taps = 2 * (int(law.blur * images_BHW.shape[-1]) // 2) + 1
    return gaussian_blur(images_BHW[None], sigma_B=images_BHW.new_full((1,), taps / 3), taps=taps)[
        0
    ]


def _nearness(clips_BCTHW: Tensor) -> Tensor:
    height, width = clips_BCTHW.shape[-2:]
    y = torch.linspace(-1, 1, height, device=clips_BCTHW.device)[:, None]
    x = torch.linspace(-1, 1, width, device=clips_BCTHW.device)
    return -(y.square() + x.square()).expand(len(clips_BCTHW), -1, -1)
