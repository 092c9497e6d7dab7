"""What several encoder families share: the interface, residual networks, widths, weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

PUBLISHED_WIDTH = 64
Triple = tuple[int, int, int]  # time, height, width
Norm = Callable[[int], nn.Module]  # channels -> normalisation


class Encoder(nn.Module):
    """Clips (B, 3, T, H, W) to a map (B, C, T/temporal_stride, H/spatial_stride, W/...).

    Parameters
    ----------
    out_channels : int
        C.
    temporal_stride, spatial_stride : int
        Input frames and pixels a step of the map; sizes that do not divide are rounded up
        or down, as the architecture pads.

    Notes
    -----
    No module reads its input's memory layout, so that ``channels_last_3d`` clips and
    weights give the same map.
    """

    def __init__(self, *, out_channels: int, temporal_stride: int, spatial_stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.temporal_stride = temporal_stride
        self.spatial_stride = spatial_stride


class ResNet(Encoder):
    """A stem and residual stages, one after the other."""

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        *,
        out_channels: int,
        temporal_stride: int,
        spatial_stride: int,
    ) -> None:
        super().__init__(
            out_channels=out_channels,
            temporal_stride=temporal_stride,
            spatial_stride=spatial_stride,
        )
        self.stem = stem
        self.stages = nn.Sequential(*stages)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map of the last stage."""
        features_BCTHW: Tensor = self.stages(self.stem(x_BCTHW))
        return features_BCTHW


class TwoBranchResNet(ResNet):
    """A residual network whose last stage exists twice, over one trunk.

    The stage inside ``stages`` (res5_g) learns from whole clips, ``region_stage`` (res5_r)
    from regions. The plain forward pass gives the global map alone.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        region_stage: nn.Module,
        *,
        out_channels: int,
        temporal_stride: int,
        spatial_stride: int,
    ) -> None:
        super().__init__(
            stem,
            stages,
            out_channels=out_channels,
            temporal_stride=temporal_stride,
            spatial_stride=spatial_stride,
        )
        self.region_stage = region_stage

    def forward(self, x_BCTHW: Tensor, *, both: bool = False) -> Any:
        """Map of the last stage; with `both`, see `both_maps`."""
        *trunk, global_stage = self.stages
        x_BCTHW = self.stem(x_BCTHW)
        for stage in trunk:
            x_BCTHW = stage(x_BCTHW)
        if not both:
            return global_stage(x_BCTHW)
        return global_stage(x_BCTHW), self.region_stage(x_BCTHW)

    def both_maps(self, x_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Global and region map, of equal shape, from one pass through the trunk.

        Seen by forward hooks, as a plain pass is.
        """
        maps: tuple[Tensor, Tensor] = self(x_BCTHW, both=True)
        return maps


def scaled(channels: int, width: int) -> int:
    """Channels in proportion to the width of the first stage; `channels` at 64."""
    return max(1, round(channels * width / PUBLISHED_WIDTH))


class TimeConvolution(nn.Conv3d):
    """Convolution without extent or stride in space, computed over (frames, positions).

    On one thread torch leaves oneDNN for such kernels in three dimensions, but not in two: R(2+1)D
    takes two thirds of the time (``benchmarks/encoders.py``). Weights keep their shape.

    Strided kernels of 1 are left to three dimensions: in two, with channels last, the backward
    pass of oneDNN 3.12 writes past its memory.
    """

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map of (B, outputs, T', H, W)."""
        y_BCTP = functional.conv2d(
            x_BCTHW.flatten(3),
            self.weight.flatten(3),
            self.bias,
            self.stride[:2],
            (int(self.padding[0]), 0),
        )
        return y_BCTP.unflatten(3, x_BCTHW.shape[3:])


def convolution(
    inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1), *, bias: bool = False
) -> nn.Conv3d:
    """Convolution padded by half its kernel: stride 1 keeps the size."""
    time, height, width = kernel
    flat = kernel[1:] == stride[1:] == (1, 1) and stride[0] <= time
    kind = TimeConvolution if flat else nn.Conv3d
    padding = (time // 2, height // 2, width // 2)
    return kind(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)


def unit(
    inputs: int,
    outputs: int,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    *,
    norm: Norm = nn.BatchNorm3d,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    return nn.Sequential(
        convolution(inputs, outputs, kernel, stride, bias=bias),
        norm(outputs),
        nn.ReLU(inplace=True),
    )


def projection(inputs: int, outputs: int, stride: Triple, norm: Norm) -> nn.Module:
    """Shortcut of a residual block: nothing where it may, else a 1x1x1 convolution."""
    if stride == (1, 1, 1) and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(convolution(inputs, outputs, (1, 1, 1), stride), norm(outputs))


def kaiming(encoder: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draw convolutions from a normal distribution scaled by their fan; biases are 0."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def variance_scaling(encoder: nn.Module) -> None:
    """Draw convolutions as Keras does by default: variance 1/fan-in, cut at two sigma.

    The normal distribution is widened so that the variance holds after the cut.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv3d):
            fan_in = module.weight[0].numel()
            std = math.sqrt(1 / fan_in) / 0.87962566103423978
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
