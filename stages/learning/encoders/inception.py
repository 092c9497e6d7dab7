"""Inception-v1 networks inflated to three dimensions: I3D, S3D and S3D-G.

One skeleton; they differ in what stands for a k x k x k convolution and in the pooling.

References
----------
Carreira and Zisserman, *Quo Vadis, Action Recognition?*, CVPR 2017 (I3D), in FAME's form. Xie
et al., *Rethinking Spatiotemporal Feature Learning*, ECCV 2018 (S3D-G), in RSPNet's form;
S3D in torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from stages.learning.encoders.blocks import Encoder, Triple, convolution, kaiming, scaled, unit

# Channels of the mixed blocks between two poolings: branch 0, reduction and output of
# branches 1 and 2, branch 3.
_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
_S3D_NORM = partial(nn.BatchNorm3d, eps=1e-3, momentum=0.001)
Unit = Callable[[int, int], nn.Module]  # inputs, outputs -> layers that keep the size


class Mixed(nn.Module):
    """Four branches of different reach, concatenated."""

    def __init__(self, inputs: int, channels: Sequence[int], *, point: Unit, cube: Unit) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3 = channels
        self.branch0 = point(inputs, b0)
        self.branch1 = nn.Sequential(point(inputs, b1a), cube(b1a, b1b))
        self.branch2 = nn.Sequential(point(inputs, b2a), cube(b2a, b2b))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), point(inputs, b3))
        self.out_channels = b0 + b1b + b2b + b3

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Channels of the branches in order; the size stays."""
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        return torch.cat([branch(x_BCTHW) for branch in branches], 1)


class Gate(nn.Module):
    """Feature gating of S3D-G: channels weighted by what the whole map holds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = convolution(channels, channels, (1, 1, 1), bias=True)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """The map, each channel times a number in (0, 1)."""
        return x_BCTHW * torch.sigmoid(self.conv(x_BCTHW.mean((2, 3, 4), keepdim=True)))


class Inception(Encoder):
    """Stem, two convolutions, nine mixed blocks.

    Parameters
    ----------
    width : int
        Channels of the stem.
    stem : nn.Module
        (B, 3, T, H, W) to (B, width, T/2, H/2, W/2).
    point, cube : Unit
        Make 1x1x1 and 3x3x3 convolutions.
    pools : sequence of 4 modules
        The first two halve height and width, the others the frames, too.
    """

    def __init__(
        self,
        width: int,
        stem: nn.Module,
        *,
        point: Unit,
        cube: Unit,
        pools: Sequence[nn.Module],
    ) -> None:
        wide = scaled(192, width)
        layers = [stem, pools[0], point(width, width), cube(width, wide)]
        inputs = wide
        for pool, stage in zip(pools[1:], _STAGES, strict=True):
            layers.append(pool)
            for published in stage:
                channels = [scaled(c, width) for c in published]
                mixed = Mixed(inputs, channels, point=point, cube=cube)
                layers.append(mixed)
                inputs = mixed.out_channels
        super().__init__(out_channels=inputs, temporal_stride=8, spatial_stride=32)
        self.features = nn.Sequential(*layers)
        # Narrow branches scaled by their fan-out would blow up the map of an untrained encoder
        # in evaluation mode, where statistics have not been learnt (S3D: standard deviation 361).
        kaiming(self, mode="fan_in")

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map of the last mixed block; 1024 channels at width 64."""
        features_BCTHW: Tensor = self.features(x_BCTHW)
        return features_BCTHW


def i3d(width: int) -> Inception:
    """I3D of FAME, padded as TensorFlow does: an odd rest goes to the end.

    A 16 x 112 x 112 clip gives a map of 2 x 4 x 4: poolings round up.
    """
    stem = nn.Sequential(
        nn.ConstantPad3d((2, 3, 2, 3, 2, 3), 0.0),
        nn.Conv3d(3, width, 7, stride=2, bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )
    return Inception(
        width,
        stem,
        point=partial(unit, kernel=(1, 1, 1)),
        cube=partial(unit, kernel=(3, 3, 3)),
        pools=[_pool_to_end(kernel) for kernel in ((1, 3, 3), (1, 3, 3), (3, 3, 3), (2, 2, 2))],
    )


def s3d(width: int) -> Inception:
    """S3D of torchvision: no gates; the frames are thinned by the stem's second convolution."""
    return _separable_inception(width, gated=False, stem_strides=((1, 2, 2), (2, 1, 1)))


def s3dg(width: int) -> Inception:
    """S3D-G of RSPNet's code, which the released weights need.

    Notes
    -----
    The stride of time stands at the stem's *first* convolution, which looks at one frame
    at a time: every second frame is never seen. `s3dg_temporal` sees all of them; weights
    have the same shapes.
    """
    return _separable_inception(width, gated=True, stem_strides=((2, 2, 2), (1, 1, 1)))


def s3dg_temporal(width: int) -> Inception:
    """S3D-G as published: the stride of time stands at the convolution over time."""
    return _separable_inception(width, gated=True, stem_strides=((1, 2, 2), (2, 1, 1)))


def _separable_inception(
    width: int, *, gated: bool, stem_strides: tuple[Triple, Triple]
) -> Inception:
    return Inception(
        width,
        _separable(3, width, size=7, strides=stem_strides, gated=gated),
        point=partial(unit, kernel=(1, 1, 1), norm=_S3D_NORM),
        cube=partial(_separable, gated=gated),
        pools=[
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d(3, stride=2, padding=1),
            nn.MaxPool3d(2),
        ],
    )


def _separable(
    inputs: int,
    outputs: int,
    *,
    gated: bool,
    size: int = 3,
    strides: tuple[Triple, Triple] = ((1, 1, 1), (1, 1, 1)),
) -> nn.Sequential:
    """Unit over space, unit over time, and perhaps a gate."""
    space, time = strides
    layers = nn.Sequential(
        unit(inputs, outputs, (1, size, size), space, norm=_S3D_NORM),
        unit(outputs, outputs, (size, 1, 1), time, norm=_S3D_NORM),
    )
    return layers.append(Gate(outputs)) if gated else layers


def _pool_to_end(kernel: Triple) -> nn.Module:
    """Pooling that pads k - s zeros at the end (maps are >= 0) and rounds sizes up."""
    stride = tuple(min(size, 2) for size in kernel)
    time, height, width = (size - step for size, step in zip(kernel, stride, strict=True))
    pool = nn.MaxPool3d(kernel, stride=stride, ceil_mode=True)
    if (time, height, width) == (0, 0, 0):
        return pool
    return nn.Sequential(nn.ConstantPad3d((0, width, 0, height, 0, time), 0.0), pool)
