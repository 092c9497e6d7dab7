"""Blur against SciPy and the published taps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from stages.learning.gaussian_blur import default_taps, gaussian_blur, gaussian_kernel
from storage_schemas.errors import ParameterError


def test_taps_of_fame_at_112_pixels() -> None:
    assert [default_taps(side) for side in (112, 128, 224, 9)] == [11, 13, 23, 1]
    kernel = gaussian_kernel(torch.tensor([11 / 3]), 11)[0]
    half = [0.049492, 0.069167, 0.089735, 0.108073, 0.120829, 0.125407]
    np.testing.assert_allclose(kernel, [*half, *half[-2::-1]], atol=1e-6)


@pytest.mark.parametrize("taps", [1, 3, 11, 23])
def test_each_group_has_its_own_deviation(taps: int) -> None:
    images = np.random.default_rng(0).random((3, 2, 12, 17))
    sigmas = np.array([0.1, 1.3, 4.0])
    found = gaussian_blur(torch.from_numpy(images), sigma_B=torch.from_numpy(sigmas), taps=taps)
    for image_XHW, sigma, ours in zip(images, sigmas, found, strict=True):
        kernel = np.exp(-0.5 * ((np.arange(taps) - taps // 2) / sigma) ** 2)
        for axis in (1, 2):
            image_XHW = ndimage.correlate1d(image_XHW, kernel / kernel.sum(), axis, mode="mirror")
        np.testing.assert_allclose(ours, image_XHW, atol=1e-12)


@pytest.mark.parametrize(("taps", "limit"), [(4, 16), (17, 16)])
def test_kernels_that_do_not_fit(taps: int, limit: int) -> None:
    with pytest.raises(ParameterError, match=f"odd number below {limit}"):
        gaussian_blur(torch.zeros(1, 1, 8, 8), sigma_B=torch.ones(1), taps=taps)


def test_half_precision_does_not_reach_it() -> None:
    images = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    sigma = torch.ones(1)
    expected = gaussian_blur(images, sigma_B=sigma, taps=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gaussian_blur(images, sigma_B=sigma, taps=5), expected)
