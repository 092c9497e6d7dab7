"""RoIAlign in plain torch, so that the core needs no torchvision.

References
----------
He et al., *Mask R-CNN*, ICCV 2017; ``aligned=True`` as in torchvision and Detectron2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def roi_align(
    features_BCHW: Tensor,
    rois_N5: Tensor,
    *,
    output_size: int,
    spatial_scale: float,
    sampling_ratio: int = 2,
) -> Tensor:
    """Average of bilinear samples in each bin of each box.

    Parameters
    ----------
    features_BCHW : Tensor
    rois_N5 : Tensor of shape (N, 5)
        Batch index and ``x1, y1, x2, y2`` in input pixels.
    output_size : int
        Bins a side, P.
    spatial_scale : float
        Feature cells per input pixel.
    sampling_ratio : int
        Samples a bin and side.

    Returns
    -------
    Tensor of shape (N, C, P, P)

    Notes
    -----
    Samples beyond the map by more than one cell count as zero, others are clamped, as in
    the reference kernels. Separable: a box samples rows and columns independently, so the
    interpolation is two small matrix products instead of a gather of N*C*(P*r)^2 values.
    """
    _, _, height, width = features_BCHW.shape
    batch = rois_N5[:, 0].long()
    x1, y1, x2, y2 = _in_cells(rois_N5[:, 1:], features_BCHW, spatial_scale).unbind(1)
    rows_NPH = _bin_weights(y1, y2, height, output_size, sampling_ratio).to(features_BCHW)
    columns_NPW = _bin_weights(x1, x2, width, output_size, sampling_ratio).to(features_BCHW)
    return torch.einsum("nph,nchw,nqw->ncpq", rows_NPH, features_BCHW[batch], columns_NPW)


def roi_mean(
    features_BCHW: Tensor,
    boxes_BN4: Tensor,
    *,
    output_size: int,
    spatial_scale: float,
    sampling_ratio: int = 2,
) -> Tensor:
    """`roi_align` of N boxes in each image, averaged over the bins: (B, N, C).

    Notes
    -----
    The mean of separable weights is separable, so that a box is one row of H*W weights and
    an image one matrix product: neither bins nor copies of the map are made.
    """
    height, width = features_BCHW.shape[-2:]
    x1, y1, x2, y2 = _in_cells(boxes_BN4, features_BCHW, spatial_scale).flatten(0, 1).T
    rows_KH = _bin_weights(y1, y2, height, output_size, sampling_ratio).mean(1)
    columns_KW = _bin_weights(x1, x2, width, output_size, sampling_ratio).mean(1)
    weights_KM = (rows_KH[:, :, None] * columns_KW[:, None]).flatten(1).to(features_BCHW)
    return weights_KM.unflatten(0, boxes_BN4.shape[:2]) @ features_BCHW.flatten(2).mT


def _in_cells(boxes_X4: Tensor, features_BCHW: Tensor, spatial_scale: float) -> Tensor:
    """Corners as indices of cells, in single precision at least: half of it moves samples."""
    exact = torch.promote_types(features_BCHW.dtype, torch.float32)
    return boxes_X4.to(exact) * spatial_scale - 0.5


def _bin_weights(start: Tensor, end: Tensor, size: int, bins: int, ratio: int) -> Tensor:
    """Weight of each of `size` cells in each bin, shape (N, bins, size)."""
    steps = (torch.arange(bins * ratio, device=start.device, dtype=start.dtype) + 0.5) / (
        bins * ratio
    )
    position_NS = start[:, None] + (end - start)[:, None] * steps
    outside = (position_NS < -1) | (position_NS > size)
    clamped = position_NS.clamp(0, size - 1)
    cells = torch.arange(size, device=start.device, dtype=start.dtype)
    weights_NSH = (1 - (clamped[..., None] - cells).abs()).clamp(min=0)
    weights_NSH = weights_NSH.masked_fill(outside[..., None], 0)
    return weights_NSH.unflatten(1, (bins, ratio)).mean(2)
