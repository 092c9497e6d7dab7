"""RoIAlign: the worked numbers of ctp.md section 10, and torchvision where it imports."""

from __future__ import annotations

import pytest
import torch

from stages.learning.roi_align import roi_align


def ramp(size: int = 14) -> torch.Tensor:
    x = torch.arange(size, dtype=torch.float64)
    return (x[None] + 10 * x[:, None])[None, None]


def test_worked_numbers() -> None:
    rois = torch.tensor([[0, 40, 30, 60, 54.0], [0, 0, 0, 20, 20]])
    inner, corner = roi_align(ramp(), rois, output_size=5, spatial_scale=1 / 8)[:, 0]
    row = torch.tensor([40.25, 40.75, 41.25, 41.75, 42.25], dtype=torch.float64)
    torch.testing.assert_close(inner[0], row)
    column = torch.tensor([40.25, 46.25, 52.25, 58.25, 64.25], dtype=torch.float64)
    torch.testing.assert_close(inner[:, 0], column)
    torch.testing.assert_close(
        corner[:2],
        torch.tensor(
            [[0, 0.25, 0.75, 1.25, 1.75], [2.5, 2.75, 3.25, 3.75, 4.25]], dtype=torch.float64
        ),
    )


def test_constant_map_gives_the_constant() -> None:
    features = torch.full((2, 3, 6, 8), 7.0)
    rois = torch.tensor([[0, 0, 0, 64, 48.0], [1, 10, 10, 12, 30]])
    out = roi_align(features, rois, output_size=3, spatial_scale=1 / 8)
    torch.testing.assert_close(out, torch.full((2, 3, 3, 3), 7.0))


def test_gradient() -> None:
    features = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 3.0, 5, 30, 41]])
    assert torch.autograd.gradcheck(
        lambda f: roi_align(f, rois, output_size=2, spatial_scale=1 / 8), features
    )


def test_parity_with_torchvision() -> None:
    try:
        from torchvision.ops import roi_align as reference
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not import here: {error}")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 14, 14, generator=generator)
    corners = torch.rand(50, 2, 2, generator=generator) * 130 - 10
    low, high = corners.amin(1), corners.amax(1)
    rois = torch.cat([torch.randint(0, 2, (50, 1), generator=generator), low, high], 1).float()
    expected = reference(features, rois, 5, 1 / 8, 2, True)
    out = roi_align(features, rois, output_size=5, spatial_scale=1 / 8)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
