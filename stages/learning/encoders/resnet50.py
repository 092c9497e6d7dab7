"""Residual networks of bottleneck blocks: R3D-50 of ConST-CL and the image network ResNet-50.

ResNet-50 is R3D-50 with temporal kernels of 1: it encodes each frame by itself, and images
are clips of one frame.

References
----------
He et al., *Deep Residual Learning*, CVPR 2016, with the stride in the 3x3 convolution as in
torchvision. Yuan et al., *Contextualized Spatio-Temporal Contrastive Learning with
Self-Supervision* (ConST-CL), CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from stages.learning.encoders.blocks import (
    Norm,
    ResNet,
    Triple,
    TwoBranchResNet,
    convolution,
    kaiming,
    projection,
    unit,
    variance_scaling,
)
from storage_schemas.errors import ParameterError

Branch = Literal["global", "region"]
_BLOCKS = (3, 4, 6, 3)
_REGION = "region_stage."
_GLOBAL = f"stages.{len(_BLOCKS) - 1}."
T = TypeVar("T")


class Bottleneck(nn.Module):
    """1x1 (over ``time`` frames), strided 3x3 and 1x1 convolution; four times the filters."""

    def __init__(self, inputs: int, filters: int, *, time: int, stride: int, norm: Norm) -> None:
        super().__init__()
        outputs, steps = 4 * filters, (1, stride, stride)
        self.conv1, self.bn1 = convolution(inputs, filters, (time, 1, 1)), norm(filters)
        self.conv2, self.bn2 = convolution(filters, filters, (1, 3, 3), steps), norm(filters)
        self.conv3, self.bn3 = convolution(filters, outputs, (1, 1, 1)), norm(outputs)
        self.shortcut = projection(inputs, outputs, steps, norm)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Residual map; frames are kept, height and width shrink by the stride."""
        y_BCTHW = torch.relu_(self.bn1(self.conv1(x_BCTHW)))
        y_BCTHW = torch.relu_(self.bn2(self.conv2(y_BCTHW)))
        y_BCTHW = self.bn3(self.conv3(y_BCTHW))
        return torch.relu_(y_BCTHW.add_(self.shortcut(x_BCTHW)))


class FrameResNet(ResNet):
    """A residual network of images, run on all frames of all clips as one batch."""

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map (B, C, T, H', W') of the frames."""
        frames_NC1HW = x_BCTHW.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        features_NCHW = super().forward(frames_NC1HW).squeeze(2)
        return features_NCHW.unflatten(0, (len(x_BCTHW), -1)).transpose(1, 2)


def resnet50(width: int) -> FrameResNet:
    """ResNet-50: (B, 3, T, H, W) gives (B, 32*width, T, H/32, W/32)."""
    encoder = FrameResNet(
        _stem(width, (1, 7, 7), (1, 2, 2)),
        [_stage(width, i, time=1) for i in range(4)],
        out_channels=32 * width,
        temporal_stride=1,
        spatial_stride=32,
    )
    kaiming(encoder)
    return encoder


def r3d50(width: int, *, branches: int = 1) -> ResNet:
    """R3D-50 of ConST-CL, with one last stage or two.

    Parameters
    ----------
    width : int
        Filters of the first bottlenecks; maps have 32 times as many channels.
    branches : int
        2 for pretraining: a `TwoBranchResNet`. `one_branch` turns its weights into those
        of an encoder with 1.

    Notes
    -----
    Strided convolutions are padded alike on both sides; TensorFlow, in which the method was
    published, pads at the end, so its checkpoints would see their input shifted.
    """
    if branches not in (1, 2):
        raise ParameterError(f"branches is {branches}: it must be 1 or 2")
    stem = _stem(width, (5, 7, 7), (2, 2, 2))
    stages = [_stage(width, i, time=time) for i, time in enumerate((1, 1, 3, 3))]
    encoder: ResNet
    if branches == 1:
        encoder = ResNet(
            stem, stages, out_channels=32 * width, temporal_stride=2, spatial_stride=32
        )
    else:
        encoder = TwoBranchResNet(
            stem,
            stages,
            _stage(width, 3, time=3),
            out_channels=32 * width,
            temporal_stride=2,
            spatial_stride=32,
        )
    variance_scaling(encoder)
    return encoder


def one_branch(state: Mapping[str, T], branch: Branch) -> dict[str, T]:
    """Weights of the encoder with one branch, from either form.

    Raises
    ------
    ParameterError
        If the region branch is asked for where there is none.
    """
    region = {
        key.replace(_REGION, _GLOBAL, 1): value
        for key, value in state.items()
        if key.startswith(_REGION)
    }
    kept = {key: value for key, value in state.items() if not key.startswith(_REGION)}
    if branch == "global":
        return kept
    if not region:
        raise ParameterError(
            "branch is 'region', but the weights have the global branch only: use branch "
            "'global', or an r3d50 that was pretrained with two branches"
        )
    return kept | region


def _stem(width: int, kernel: Triple, stride: Triple) -> nn.Sequential:
    pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    return unit(3, width, kernel, stride).append(pool)


def _stage(width: int, index: int, *, time: int) -> nn.Sequential:
    """Blocks of the stage `index` (0-3); all but the first stage halve height and width."""
    filters = width * 2**index
    inputs = width if index == 0 else 2 * filters
    stage = nn.Sequential()
    for block in range(_BLOCKS[index]):
        stride = 2 if index > 0 and block == 0 else 1
        stage.append(Bottleneck(inputs, filters, time=time, stride=stride, norm=nn.BatchNorm3d))
        inputs = 4 * filters
    return stage
