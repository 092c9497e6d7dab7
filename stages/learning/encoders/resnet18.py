"""Residual networks of basic blocks: R3D-18 and R(2+1)D-18, each in the form of its users.

They differ in the stem, in how 3x3x3 convolutions are factorised, and in the epsilon of
batch normalisation. R(2+1)D puts a 1x3x3 and a 3x1x1 convolution in place of a 3x3x3 one;
between them lie as many channels as keep the number of parameters.

References
----------
Tran et al., *A Closer Look at Spatiotemporal Convolutions*, CVPR 2018; Hara et al., *Can
Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?*, CVPR 2018. Their forms
in CtP (CVPR 2021), torchvision and FAME (CVPR 2022), RSPNet (AAAI 2021), VCOP (CVPR 2019).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from stages.learning.encoders.blocks import (
    PUBLISHED_WIDTH,
    Norm,
    ResNet,
    Triple,
    TwoBranchResNet,
    convolution,
    kaiming,
    projection,
    scaled,
    unit,
)
from storage_schemas.errors import ParameterError

_CTP_NORM = partial(nn.BatchNorm3d, eps=1e-3)
_UNIT = (1, 1, 1)
_CUBE = (3, 3, 3)
_STEM_KERNEL, _STEM_STRIDE = (3, 7, 7), (1, 2, 2)
# Inputs, outputs, stride of the first convolution, normalisation -> both convolutions.
Pair = Callable[[int, int, Triple, Norm], tuple[nn.Module, nn.Module]]


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut; the map shrinks by the stride of the first.

    Sums and ReLU are in place: no gradient needs what they overwrite.
    """

    def __init__(
        self, pair: tuple[nn.Module, nn.Module], shortcut: nn.Module, *, outputs: int, norm: Norm
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = pair[0], norm(outputs)
        self.conv2, self.bn2 = pair[1], norm(outputs)
        self.shortcut = shortcut

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Residual map."""
        y_BCTHW = torch.relu_(self.bn1(self.conv1(x_BCTHW)))
        y_BCTHW = self.bn2(self.conv2(y_BCTHW))
        return torch.relu_(y_BCTHW.add_(self.shortcut(x_BCTHW)))


def r3d18(width: int, *, last_spatial_stride: int = 2, branches: int = 1) -> ResNet:
    """R3D-18 of CtP: no pooling after the stem, BN epsilon 1e-3.

    ``last_spatial_stride`` is 1 for CtP's pretraining (spatial stride 8), 2 downstream (16);
    the weights are the same in both forms. ``branches=2`` gives ConST-CL a small encoder.
    """
    return _resnet(
        width,
        unit(3, width, _STEM_KERNEL, _STEM_STRIDE, norm=_CTP_NORM),
        _cubes,
        norm=_CTP_NORM,
        last_spatial_stride=last_spatial_stride,
        branches=branches,
    )


def r3d18_torchvision(width: int, *, last_spatial_stride: int = 2) -> ResNet:
    """R3D-18 of torchvision: CtP's with BN epsilon 1e-5."""
    stem = unit(3, width, _STEM_KERNEL, _STEM_STRIDE)
    return _resnet(width, stem, _cubes, last_spatial_stride=last_spatial_stride)


def r3d18_hara(width: int) -> ResNet:
    """ResNet-18 of Hara et al. as in RSPNet: a 7x7x7 stem, then pooling over time, too."""
    stem = unit(3, width, (7, 7, 7), _STEM_STRIDE)
    stem.append(nn.MaxPool3d(3, stride=2, padding=1))
    return _resnet(width, stem, _cubes, stem_stride=(2, 4))


def r2plus1d18(width: int, *, last_spatial_stride: int = 2) -> ResNet:
    """R(2+1)D-18 of CtP: middle channels from each convolution's own inputs and outputs."""
    return _resnet(
        width,
        _factorised_stem(width, scaled(45, width), _CTP_NORM),
        _factorised_each,
        norm=_CTP_NORM,
        last_spatial_stride=last_spatial_stride,
    )


def r2plus1d18_torchvision(width: int, *, last_spatial_stride: int = 2) -> ResNet:
    """R(2+1)D-18 of torchvision and FAME: middle channels from the block's ends, for both."""
    stem = _factorised_stem(width, scaled(45, width), nn.BatchNorm3d)
    return _resnet(width, stem, _factorised_alike, last_spatial_stride=last_spatial_stride)


def r2plus1d_vcop(width: int, *, last_spatial_stride: int = 2) -> ResNet:
    """R(2+1)D of VCOP, as in RSPNet: one block a stage, shortcuts are factorised, too."""
    middle = scaled(middle_channels(3, PUBLISHED_WIDTH, _STEM_KERNEL), width)
    return _resnet(
        width,
        _factorised_stem(width, middle, nn.BatchNorm3d),
        _factorised_each,
        shortcut=_factorised_projection,
        blocks=1,
        last_spatial_stride=last_spatial_stride,
    )


def middle_channels(inputs: int, outputs: int, kernel: Triple = _CUBE) -> int:
    """Channels between both parts of a factorised convolution: as many parameters as before."""
    time, height, width = kernel
    area = height * width
    return time * area * inputs * outputs // (area * inputs + time * outputs)


def _resnet(
    width: int,
    stem: nn.Module,
    pair: Pair,
    *,
    norm: Norm = nn.BatchNorm3d,
    shortcut: Callable[[int, int, Triple, Norm], nn.Module] = projection,
    blocks: int = 2,
    stem_stride: tuple[int, int] = (1, 2),
    last_spatial_stride: int = 2,
    branches: int = 1,
) -> ResNet:
    """Four stages of basic blocks behind a stem of the given (time, space) stride."""
    last = last_spatial_stride
    if last not in (1, 2):
        raise ParameterError(f"last_spatial_stride is {last}: it must be 1 or 2")
    if branches not in (1, 2):
        raise ParameterError(f"branches is {branches}: it must be 1 or 2")
    stages, inputs = [], width
    for i, first in enumerate([_UNIT, (2, 2, 2), (2, 2, 2), (2, last, last)]):
        outputs = width * 2**i
        stage = nn.Sequential()
        for stride in [first] + [_UNIT] * (blocks - 1):
            convolutions = pair(inputs, outputs, stride, norm)
            bypass = shortcut(inputs, outputs, stride, norm)
            stage.append(BasicBlock(convolutions, bypass, outputs=outputs, norm=norm))
            inputs = outputs
        stages.append(stage)
    make: Callable[..., ResNet] = ResNet
    if branches == 2:
        make = partial(TwoBranchResNet, region_stage=copy.deepcopy(stages[-1]))
    encoder = make(
        stem,
        stages,
        out_channels=inputs,
        temporal_stride=stem_stride[0] * 8,
        spatial_stride=stem_stride[1] * 4 * last,
    )
    kaiming(encoder)
    return encoder


def _factorised_stem(width: int, middle: int, norm: Norm) -> nn.Sequential:
    stem = factorised(3, width, _STEM_STRIDE, norm, kernel=_STEM_KERNEL, middle=middle)
    return stem.extend([norm(width), nn.ReLU(inplace=True)])


def factorised(
    inputs: int,
    outputs: int,
    stride: Triple,
    norm: Norm,
    *,
    kernel: Triple = _CUBE,
    middle: int | None = None,
) -> nn.Sequential:
    """Convolution over space, normalisation, ReLU, convolution over time."""
    if middle is None:
        middle = middle_channels(inputs, outputs, kernel)
    return nn.Sequential(
        convolution(inputs, middle, (1, *kernel[1:]), (1, *stride[1:])),
        norm(middle),
        nn.ReLU(inplace=True),
        convolution(middle, outputs, (kernel[0], 1, 1), (stride[0], 1, 1)),
    )


def _cubes(inputs: int, outputs: int, stride: Triple, norm: Norm) -> tuple[nn.Module, nn.Module]:
    return convolution(inputs, outputs, _CUBE, stride), convolution(outputs, outputs, _CUBE)


def _factorised_each(
    inputs: int, outputs: int, stride: Triple, norm: Norm
) -> tuple[nn.Module, nn.Module]:
    first = factorised(inputs, outputs, stride, norm)
    return first, factorised(outputs, outputs, _UNIT, norm)


def _factorised_alike(
    inputs: int, outputs: int, stride: Triple, norm: Norm
) -> tuple[nn.Module, nn.Module]:
    middle = middle_channels(inputs, outputs)
    first = factorised(inputs, outputs, stride, norm, middle=middle)
    return first, factorised(outputs, outputs, _UNIT, norm, middle=middle)


def _factorised_projection(inputs: int, outputs: int, stride: Triple, norm: Norm) -> nn.Module:
    if stride == _UNIT and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(factorised(inputs, outputs, stride, norm, kernel=_UNIT), norm(outputs))
