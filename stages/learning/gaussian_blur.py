"""Gaussian blur of images on the device, with a deviation of its own for every clip."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from storage_schemas.errors import ParameterError


def default_taps(side: int) -> int:
    """Side of the kernel for images of a side: the largest odd number near a tenth of it."""
    return 2 * (side // 10 // 2) + 1


def gaussian_blur(images_BXHW: Tensor, *, sigma_B: Tensor, taps: int) -> Tensor:
    """Blur images, edges reflected without repeating the outermost pixel.

    Parameters
    ----------
    images_BXHW : Tensor, float
        B groups of X images.
    sigma_B : Tensor, float
        Deviation in pixels of each group.
    taps : int
        Values of the kernel along a side, odd; they sum to 1.

    Returns
    -------
    Tensor of shape (B, X, H, W)

    Raises
    ------
    ParameterError
        If half the kernel does not fit into the image.

    Notes
    -----
    Sums of shifted images, which are of single precision everywhere: on a GPU a convolution
    or a matrix product may be of half precision or TF32, and then the ranks of pixels that
    FAME takes would be of rounding. Speeds of both are in ``benchmarks/colour.py``.
    """
    half, side = taps // 2, min(images_BXHW.shape[-2:])
    if taps % 2 == 0 or half >= side:
        raise ParameterError(
            f"a blur with {taps} taps does not fit {side} pixels; give an odd number below "
            f"{2 * side}"
        )
    weights = gaussian_kernel(sigma_B, taps)[:, :, None, None, None].unbind(1)
    padded = functional.pad(images_BXHW, (half, half, half, half), mode="reflect")
    for axis in (2, 3):
        padded = _weighted_sum(padded, weights, axis)
    return padded


def gaussian_kernel(sigma_B: Tensor, taps: int) -> Tensor:
    """Values (B, taps) that sum to 1."""
    at = torch.arange(taps, device=sigma_B.device) - taps // 2
    return torch.softmax(-0.5 * (at / sigma_B[:, None]) ** 2, dim=1)


def _weighted_sum(padded: Tensor, weights: tuple[Tensor, ...], axis: int) -> Tensor:
    """Correlation along an axis, which becomes ``len(weights) - 1`` shorter."""
    length = padded.shape[axis] - len(weights) + 1
    out = padded.narrow(axis, 0, length) * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        out.addcmul_(padded.narrow(axis, shift, length), weight)
    return out
