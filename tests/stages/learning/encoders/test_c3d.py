"""C3D after rspnet.md section 4."""

from __future__ import annotations

import torch
from torch import nn

from stages.learning.encoders.c3d import C3D

STAGES = [(64, 16, 112), (128, 16, 56), (256, 8, 28), (512, 4, 14), (512, 2, 7)]


def test_stages_have_the_published_shapes() -> None:
    with torch.device("meta"):
        encoder, x = C3D(64).eval(), torch.empty(1, 3, 16, 112, 112)
    for stage, (channels, frames, side) in zip(encoder.stages, STAGES, strict=True):
        x = stage(x)
        assert x.shape == (1, channels, frames, side, side)


def test_eight_convolutions_with_bias_each_normalised() -> None:
    layers = list(C3D(4).modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv3d)]
    assert [conv.kernel_size for conv in convolutions] == [(3, 3, 3)] * 8
    assert all(conv.bias is not None for conv in convolutions)
    assert sum(isinstance(layer, nn.BatchNorm3d) for layer in layers) == 8
