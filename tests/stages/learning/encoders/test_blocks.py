"""Shared parts: widths, padding, shortcuts, and the distribution of fresh weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stages.learning.encoders.blocks import (
    TimeConvolution,
    convolution,
    kaiming,
    projection,
    scaled,
    variance_scaling,
)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(64, 64, 64), (528, 64, 528), (192, 16, 48), (45, 32, 22), (16, 4, 1), (16, 1, 1)],
)
def test_scaled(channels: int, width: int, expected: int) -> None:
    assert scaled(channels, width) == expected


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1), (1, 3, 3), (7, 7, 7), (5, 7, 7)])
def test_convolution_keeps_the_size_and_halves_it(kernel: tuple[int, int, int]) -> None:
    clip = torch.zeros(1, 3, 8, 10, 12)
    assert convolution(3, 2, kernel)(clip).shape == (1, 2, 8, 10, 12)
    assert convolution(3, 2, kernel, (2, 2, 2))(clip).shape == (1, 2, 4, 5, 6)
    assert convolution(3, 2, kernel).bias is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 1, 1), (1, 1, 1)), ((7, 1, 1), (2, 1, 1)), ((1, 1, 1), (1, 1, 1))],
)
def test_time_convolution_is_a_convolution(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], layout: torch.memory_format
) -> None:
    fast = convolution(6, 5, kernel, stride, bias=True)
    assert isinstance(fast, TimeConvolution)
    plain = nn.Conv3d(6, 5, kernel, stride, padding=fast.padding)
    plain.load_state_dict(fast.state_dict())
    clip = torch.randn(2, 6, 8, 4, 6).to(memory_format=layout)
    maps, gradients = [], []
    for layer in (fast, plain):
        given = clip.detach().requires_grad_()
        maps.append(layer(given))
        maps[-1].square().sum().backward()
        gradients.append([given.grad, layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(maps[0], maps[1])
    assert maps[0].is_contiguous(memory_format=layout)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        ((1, 3, 3), (1, 1, 1)),
        ((1, 1, 1), (1, 2, 2)),
        ((3, 1, 1), (1, 2, 2)),
        ((1, 1, 1), (2, 1, 1)),  # it would crash
    ],
)
def test_other_convolutions_are_torchs(
    kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    assert type(convolution(2, 2, kernel, stride)) is nn.Conv3d


def test_projection_only_where_shapes_change() -> None:
    assert isinstance(projection(4, 4, (1, 1, 1), nn.BatchNorm3d), nn.Identity)
    for inputs, stride in ((4, (1, 2, 2)), (2, (1, 1, 1))):
        shortcut = projection(inputs, 4, stride, nn.BatchNorm3d)
        clip = torch.zeros(1, inputs, 2, 4, 4)
        assert shortcut(clip).shape == (1, 4, 2, 4 // stride[1], 4 // stride[2])


def test_kaiming_is_a_normal_distribution_scaled_by_the_fan() -> None:
    layer = nn.Conv3d(16, 64, (1, 3, 3))
    kaiming(layer)
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.03)
    assert layer.bias is not None
    assert (layer.bias == 0).all()
    kaiming(layer, mode="fan_in")
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.03)


def test_variance_scaling_cuts_at_two_sigma_and_keeps_the_variance() -> None:
    layer = nn.Conv3d(16, 64, (1, 3, 3), bias=False)
    variance_scaling(layer)
    wanted = math.sqrt(1 / (16 * 9))
    assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.03)
    # Of 9216 draws some lie close to the cut, which is at 2 / 0.8796 of the final deviation.
    assert 2.2 * wanted < float(layer.weight.detach().abs().max()) <= 2 / 0.8796 * wanted
