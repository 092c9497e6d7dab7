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
    x1, y1, x2, y2 = (rois_N5[:, 1:].to(features_BCHW.dtype) * spatial_scale - 0.5).unbind(1)
    rows_NPH = _bin_weights(y1, y2, height, output_size, sampling_ratio)
    columns_NPW = _bin_weights(x1, x2, width, output_size, sampling_ratio)
    return torch.einsum("nph,nchw,nqw->ncpq", rows_NPH, features_BCHW[batch], columns_NPW)


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
