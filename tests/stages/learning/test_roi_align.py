"""RoIAlign: the worked numbers of ctp.md section 10, and torchvision where it imports."""

from __future__ import annotations

import pytest
import torch

from stages.learning.roi_align import roi_align, roi_mean


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


def test_bin_centres_without_the_half_pixel() -> None:
    """The worked numbers of constcl.md section 10: a cell's coordinate is its index."""
    x = torch.arange(7, dtype=torch.float64)
    features = (10 * x[:, None] + x)[None, None]
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.6], [0.8, 0.8, 0.999, 0.999]]]).double() * 7 + 0.5
    rois = torch.cat([torch.zeros(2, 1).double(), boxes[0]], 1)
    options = {"output_size": 4, "spatial_scale": 1.0, "sampling_ratio": 1}
    bins = roi_align(features, rois, **options)[:, 0]
    rows = torch.tensor([18.55, 25.55, 32.55, 39.55]).double()
    torch.testing.assert_close(bins[0], rows[:, None] + 0.7 * torch.arange(4))
    means = roi_mean(features, boxes, **options)[0, :, 0]
    torch.testing.assert_close(means, torch.tensor([30.1, 65.378844]).double())


def test_mean_is_that_of_the_bins() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, 6, 9, generator=generator, dtype=torch.float64)
    corners = torch.rand(3, 4, 2, 2, generator=generator) * 90 - 10
    boxes = torch.cat([corners.amin(2), corners.amax(2)], -1).double()
    index = torch.arange(3.0).repeat_interleave(4)[:, None]
    bins = roi_align(
        features, torch.cat([index, boxes.flatten(0, 1)], 1), output_size=3, spatial_scale=1 / 8
    )
    means = roi_mean(features, boxes, output_size=3, spatial_scale=1 / 8)
    torch.testing.assert_close(means.flatten(0, 1), bins.mean((2, 3)))


def test_features_of_half_precision_are_read_at_exact_places() -> None:
    """As under autocast: bfloat16 would round a place to a sixteenth of a cell."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 4, 14, 14, generator=generator).bfloat16()
    low = torch.randint(0, 90, (1, 50, 2), generator=generator)
    boxes = torch.cat([low, low + torch.randint(8, 20, low.shape, generator=generator)], -1)
    rois = torch.cat([torch.zeros(50, 1), boxes[0]], 1)
    options = {"output_size": 5, "spatial_scale": 1 / 8}
    for found, exact in (
        (roi_align(features, rois, **options), roi_align(features.float(), rois, **options)),
        (roi_mean(features, boxes, **options), roi_mean(features.float(), boxes, **options)),
    ):
        assert found.dtype == torch.bfloat16
        # What rounding the result alone would cost is 0.0008 at values of 0.55.
        assert (found.float() - exact).abs().mean() < 0.003 * exact.abs().mean()
