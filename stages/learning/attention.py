"""Maps of a similarity, in closed form, and how well Grad-CAM of it lies on a mask.

Shapes: B clips, C channels, P positions of the map (T', H', W'), D dimensions.

References
----------
Selvaraju et al., *Grad-CAM*, ICCV 2017; *CAST*, CVPR 2021; *PreViTS*, WACV 2023;
specs/previts.md section 5.3.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from stages.learning.contrastive import Projector
from stages.learning.distributed import gather_constant, world_size

_TINY = 1e-7


def similarity_map(
    features_BCTHW: Tensor, projector: Projector, key_BD: Tensor, *, relu_first: bool = True
) -> Tensor:
    """Where the encoder looks when it finds the key: (B, T', H', W'), in 0..1.

    Parameters
    ----------
    features_BCTHW : Tensor
        Of the query; gradients flow back through it.
    projector : Projector
        Average and one linear layer; then the gradient of the similarity by the features is
        the same at all positions and known without a backward pass:
        ``W^T (I - q q^T) k / (P * length of v)``.
    key_BD : Tensor
        Unit vectors, without gradients.
    relu_first : bool
        Drop what speaks against the key, then stretch to 0..1. False stretches first, as the
        released code does, which keeps such places as low positive values.
    """
    linear = projector.linear
    with torch.autocast(features_BCTHW.device.type, enabled=False):
        # In single precision: near its end a training subtracts nearly equal vectors here.
        features_BCTHW, key_BD = features_BCTHW.to(linear.weight), key_BD.to(linear.weight)
        vectors_BD = linear(features_BCTHW.mean((2, 3, 4)))
        length_B1 = vectors_BD.norm(dim=1, keepdim=True).clamp(min=_TINY)
        unit_BD = vectors_BD / length_B1
        across_BD = (key_BD - unit_BD * (unit_BD * key_BD).sum(1, keepdim=True)) / length_B1
        alpha_BC = across_BD @ linear.weight  # times 1 / (P * temperature), which stretching undoes
        raw_BTHW = torch.einsum("bc,bcthw->bthw", alpha_BC, features_BCTHW)
    return _stretched(raw_BTHW.relu()) if relu_first else _stretched(raw_BTHW).relu()


def similarity_activation(features_2CTHW: Tensor, weight_DC: Tensor) -> tuple[Tensor, Tensor]:
    """RSPNet's similarity activation maps of two clips, (2, T', H', W'), and their similarity.

    With averages ``x``, similarity ``s = (W x_1)^T (W x_0)`` and map ``((W x_1)^T W) F_0`` of
    the first clip, so that the mean of either map is the similarity, exactly; without bias
    and unit length.

    References
    ----------
    Chen et al., *RSPNet*, AAAI 2021, supplement, equation 2.
    """
    vectors_2D = features_2CTHW.mean((2, 3, 4)) @ weight_DC.T
    lifted_2C = vectors_2D.flip(0) @ weight_DC
    maps_2THW = torch.einsum("bc,bcthw->bthw", lifted_2C, features_2CTHW)
    return maps_2THW, (vectors_2D[0] * vectors_2D[1]).sum()


def _stretched(map_BTHW: Tensor) -> Tensor:
    """Each clip's map from its least to its largest value onto 0..1."""
    low, high = map_BTHW.amin((1, 2, 3), keepdim=True), map_BTHW.amax((1, 2, 3), keepdim=True)
    return (map_BTHW - low) / (high - low + _TINY)


def shrink_mask(
    mask_BHW: Tensor, size: tuple[int, int], *, pooling: Literal["area", "points"]
) -> Tensor:
    """Masks (B, H, W) at the size (H', W') of a feature map, in 0..1.

    "points" reads single pixels (bilinear with aligned corners, as the released code), so
    that a small mask may vanish; "area" averages.
    """
    planes = mask_BHW[:, None].float()
    if pooling == "area":
        return functional.adaptive_avg_pool2d(planes, size)[:, 0]
    return functional.interpolate(planes, size, mode="bilinear", align_corners=True)[:, 0]


def attention_loss(map_BTHW: Tensor, mask_BHW: Tensor, has_mask_B: Tensor) -> Tensor:
    """Mean over clips with a mask of one minus the cosine of map and mask; 0 without any.

    Parameters
    ----------
    map_BTHW : Tensor
        From `similarity_map`.
    mask_BHW : Tensor of shape (B, H', W')
        Repeated over time.
    has_mask_B : Tensor
        1 where the clip counts. A mask that vanished in shrinking does not count either.
    """
    mask_BTHW = mask_BHW[:, None].expand_as(map_BTHW)
    counts_B = has_mask_B.float() * (mask_BHW.flatten(1).sum(1) > 0)
    cosine_B = functional.cosine_similarity(map_BTHW.flatten(1), mask_BTHW.flatten(1), eps=_TINY)
    total = gather_constant(counts_B).sum() / world_size()
    return (counts_B * (1 - cosine_B)).sum() / total.clamp(min=1 / world_size())
