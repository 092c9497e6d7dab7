"""I3D after fame.md section 5, S3D-G after rspnet.md section 4."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from stages.learning.encoders.inception import Gate, Inception, Mixed, i3d, s3d, s3dg, s3dg_temporal

# Channels, frames and side after each layer: stem, pool, 1x1x1, 3x3x3, pool, 3b, 3c, pool,
# 4b-4f, pool, 5b, 5c.
S3DG = [
    *[(64, 32, 112), (64, 32, 56), (64, 32, 56), (192, 32, 56), (192, 32, 28)],
    *[(256, 32, 28), (480, 32, 28), (480, 16, 14)],
    *[(512, 16, 14), (512, 16, 14), (512, 16, 14), (528, 16, 14), (832, 16, 14), (832, 8, 7)],
    *[(832, 8, 7), (1024, 8, 7)],
]
I3D = [(channels, frames // 4, side) for channels, frames, side in S3DG]


@pytest.mark.parametrize(
    ("make", "frames", "expected"),
    [(s3dg, 64, S3DG), (s3dg_temporal, 64, S3DG), (s3d, 64, S3DG), (i3d, 16, I3D)],
)
def test_layers_have_the_published_shapes(
    make: Callable[..., Inception], frames: int, expected: list[tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        encoder, x = make(64).eval(), torch.empty(1, 3, frames, 224, 224)
    for layer, (channels, time, side) in zip(encoder.features, expected, strict=True):
        x = layer(x)
        assert x.shape == (1, channels, time, side, side)


@pytest.mark.parametrize(
    ("make", "unseen"), [(s3dg, True), (s3dg_temporal, False), (s3d, False), (i3d, False)]
)
def test_who_sees_odd_frames(make: Callable[..., Inception], unseen: bool) -> None:
    encoder = make(4)
    clip = torch.randn(2, 3, 16, 32, 32, requires_grad=True)
    encoder(clip).square().sum().backward()
    assert clip.grad is not None
    seen = clip.grad.abs().amax((0, 1, 3, 4)) > 0
    assert seen[::2].all()
    assert (seen[1::2] == (not unseen)).all()


def test_stems_of_s3dg_have_equal_weights() -> None:
    reference, standard = s3dg(4).state_dict(), s3dg_temporal(4).state_dict()
    assert {k: v.shape for k, v in reference.items()} == {k: v.shape for k, v in standard.items()}


def test_gates_follow_each_separable_convolution_alone() -> None:
    """s3dg is s3d and a gate of c*c + c parameters behind each of its 20 separable units."""
    with torch.device("meta"):
        plain, gated = s3d(64), s3dg(64)
    gates = [module for module in gated.modules() if isinstance(module, Gate)]
    channels = [gate.conv.out_channels for gate in gates]
    pairs = [(128, 32), (192, 96), (208, 48), (224, 64), (256, 64), (288, 64), (320, 128)]
    pairs += [(320, 128), (384, 128)]
    assert channels == [64, 192, *[c for pair in pairs for c in pair]]
    difference = sum(p.numel() for p in gated.parameters()) - sum(
        p.numel() for p in plain.parameters()
    )
    assert difference == sum(c * c + c for c in channels)


def test_a_gate_weighs_channels_by_the_mean_of_the_map() -> None:
    gate = Gate(2)
    x = torch.tensor([[1.0, 3.0], [0.0, 4.0]]).reshape(1, 2, 1, 1, 2)  # means 2 and 2
    with torch.no_grad():
        gate.conv.weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 0.0]]).reshape(2, 2, 1, 1, 1))
        assert gate.conv.bias is not None
        gate.conv.bias.copy_(torch.tensor([0.0, -1.0]))
        # Logits: 2 - 2 + 0 = 0 and 1 + 0 - 1 = 0, so both channels are halved.
        torch.testing.assert_close(gate(x), x / 2)
        gate.conv.bias.copy_(torch.tensor([100.0, -100.0]))
        torch.testing.assert_close(gate(x), x * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1))


def test_branches_are_concatenated_in_order() -> None:
    def constant(inputs: int, outputs: int) -> nn.Module:
        layer = nn.Conv3d(inputs, outputs, 1)
        nn.init.zeros_(layer.weight)
        assert layer.bias is not None
        nn.init.constant_(layer.bias, outputs)  # each branch gives its number of channels
        return layer

    mixed = Mixed(3, (1, 7, 2, 8, 3, 4), point=constant, cube=constant)
    found = mixed(torch.randn(1, 3, 2, 4, 4))
    assert found[0, :, 0, 0, 0].tolist() == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert mixed.out_channels == 10


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize("tap", range(7))
def test_i3d_stem_pads_two_before_and_three_after(axis: int, tap: int) -> None:
    """A kernel with one weight reads x[2i + tap - 2], and zeros beyond the ends."""
    pad, stem = i3d(4).features[0][:2]
    with torch.no_grad():
        stem.weight.zero_()
        # The other axes read every second entry: tap 2 meets the padding of 2.
        place = [2, 2, 2]
        place[axis - 2] = tap
        stem.weight[0, 0, place[0], place[1], place[2]] = 1
        shape = [1, 1, 1, 1, 1]
        shape[axis] = 8
        ramp = torch.arange(1.0, 9.0).reshape(shape).expand(1, 3, 8, 8, 8)
        found = stem(pad(ramp))[0, 0].movedim(axis - 2, 0)[:, 1, 1]
    reads = [2 * i + tap - 2 for i in range(4)]
    assert found.tolist() == [at + 1.0 if 0 <= at < 8 else 0.0 for at in reads]


@pytest.mark.parametrize("size", range(2, 10))
@pytest.mark.parametrize(("layer", "kernel"), [(7, 3), (13, 2)], ids=["4a", "5a"])
def test_i3d_pools_look_ahead_and_round_up(layer: int, kernel: int, size: int) -> None:
    pool = i3d(4).features[layer]
    ramp = torch.rand(size)
    found = pool(ramp[None, None, :, None, None].expand(1, 1, size, size, size))[0, 0, :, 0, 0]
    expected = [float(ramp[start : start + kernel].max()) for start in range(0, size, 2)]
    assert found.tolist() == pytest.approx(expected)


def test_i3d_pools_of_space_keep_the_frames() -> None:
    for layer in (1, 4):
        found = i3d(4).features[layer](torch.rand(1, 2, 5, 8, 8))
        assert found.shape == (1, 2, 5, 4, 4)


@pytest.mark.parametrize("make", [i3d, s3d, s3dg, s3dg_temporal])
def test_an_untrained_frozen_encoder_gives_numbers_of_common_size(
    make: Callable[..., Inception],
) -> None:
    """It is a baseline of evaluation; scaled by fan-out, maps of s3d would deviate by 361."""
    with torch.inference_mode():
        found = make(16).eval()(torch.randn(1, 3, 16, 64, 64))
    assert 0.01 < float(found.std()) < 10
