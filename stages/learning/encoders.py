"""Video encoders: (B, 3, T, H, W) float -> feature map (B, C, T', H', W').

References
----------
R3D-18 in the form of CtP (Wang et al., CVPR 2021): no pooling after the stem, BN eps 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.learning.encoder_spec import EncoderSpec
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError

_BN_EPS = 1e-3
Triple = tuple[int, int, int]


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: Triple) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs, eps=_BN_EPS)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(outputs, eps=_BN_EPS)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1, 1) or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride=stride, bias=False),
                nn.BatchNorm3d(outputs, eps=_BN_EPS),
            )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Residual map; the size shrinks by the stride."""
        y_BCTHW = torch.relu(self.bn1(self.conv1(x_BCTHW)))
        y_BCTHW = self.bn2(self.conv2(y_BCTHW))
        return torch.relu(y_BCTHW + self.shortcut(x_BCTHW))


class R3D18(nn.Module):
    """ResNet-18 of 3-D convolutions.

    Parameters
    ----------
    width : int
        Channels of the first stage; the last has 8 times as many.
    last_spatial_stride : int
        1 for CtP pretraining (total spatial stride 8), 2 downstream (16). The weights are
        the same in both forms.

    Notes
    -----
    33,166,272 parameters at width 64, as torchvision's ``r3d_18`` without its classifier.
    """

    def __init__(self, width: int = 64, *, last_spatial_stride: int = 2) -> None:
        super().__init__()
        self.out_channels = 8 * width
        self.spatial_stride = 8 * last_spatial_stride
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
            nn.BatchNorm3d(width, eps=_BN_EPS),
            nn.ReLU(),
        )
        last = last_spatial_stride
        strides: list[Triple] = [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, last, last)]
        stages = []
        channels = width
        for i, stride in enumerate(strides):
            outputs = width * 2**i
            stages.append(
                nn.Sequential(
                    BasicBlock(channels, outputs, stride), BasicBlock(outputs, outputs, (1, 1, 1))
                )
            )
            channels = outputs
        self.stages = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Feature map (B, 8*width, T/8, H/stride, W/stride)."""
        features_BCTHW: Tensor = self.stages(self.stem(x_BCTHW))
        return features_BCTHW


def build(spec: EncoderSpec, *, pretraining: bool = False) -> R3D18:
    """A freshly initialised encoder; draws from torch's global generator."""
    return R3D18(spec.width, last_spatial_stride=1 if pretraining else 2)


def random_encoder(spec: EncoderSpec, *, seed: int) -> R3D18:
    """Encoder in downstream form with weights drawn from `seed`; global RNG untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec)


def load_encoder(files: EncoderFiles) -> R3D18:
    """Trained encoder in downstream form; nothing is unpickled."""
    encoder = build(EncoderSpec.model_validate(files.parameters))
    encoder.load_state_dict(load_state(files.weights))
    return encoder


def load_state(path: Path) -> Mapping[str, Any]:
    """State dict of tensors; raises `SchemaError` for anything else."""
    try:
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SchemaError(f"{path} holds no plain state dict: {error}") from error
    return state
