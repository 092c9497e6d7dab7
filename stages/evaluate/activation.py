"""Where a classifier looks: CAM, Grad-CAM, guided backpropagation; and CAAM without a class.

Shapes: B clips, K classes, C channels of a map (B, C, T', H', W').

References
----------
Zhou et al., *Learning Deep Features for Discriminative Localization*, CVPR 2016 (CAM);
Selvaraju et al., *Grad-CAM*, ICCV 2017; Springenberg et al., *Striving for Simplicity*, ICLR
2015 workshop (guided backpropagation); Ding et al., *FAME*, CVPR 2022 (CAAM).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipeline.wording import suggest
from storage_schemas.errors import ParameterError

_RECTIFIERS = (torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu)


def class_activation(features_BCTHW: Tensor, weight_BC: Tensor) -> Tensor:
    """CAM (B, T', H', W'): channels weighed as the linear layer weighs their averages.

    Its mean is the logit without the bias.
    """
    return torch.einsum("bc,bcthw->bthw", weight_BC, features_BCTHW)


def class_agnostic(features_BCTHW: Tensor) -> Tensor:
    """FAME's CAAM (B, T', H', W'): the sum over channels, whatever the class.

    The paper says that channels are aggregated; sum and mean look the same once stretched.
    """
    return features_BCTHW.sum(1)


def grad_cam(features_BCTHW: Tensor, gradient_BCTHW: Tensor) -> Tensor:
    """Grad-CAM (B, T', H', W'): channels weighed by their mean gradient, what helps only."""
    weight_BC = gradient_BCTHW.mean((2, 3, 4))
    return class_activation(features_BCTHW, weight_BC).relu()


def gradient_at(
    network: nn.Module, layer: str, scores: Callable[[Tensor], Tensor], pixels_BCTHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Map of a layer, and the gradient of the summed scores by it.

    Parameters
    ----------
    network : nn.Module
        The encoder; ``layer`` is a module of it, ``""`` its output.
    layer : str
    scores : callable
        Of the network's output, (B,).
    pixels_BCTHW : Tensor

    Raises
    ------
    ParameterError
        If there is no such layer; names the nearest.
    """
    modules = dict(network.named_modules())
    if layer not in modules:
        names = [name for name in modules if name]
        raise ParameterError(f"the encoder has no layer {layer!r}; {suggest(layer, names)}")
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        kept.append(output.requires_grad_() if output.is_leaf else output)
        return output.clone()  # what follows may work in place

    handle = modules[layer].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            total = scores(network(pixels_BCTHW)).sum()
            (gradient,) = torch.autograd.grad(total, kept[-1])
    finally:
        handle.remove()
    return kept[-1].detach(), gradient


def guided_gradient(scores: Callable[[Tensor], Tensor], pixels_BCTHW: Tensor) -> Tensor:
    """Gradient of the summed scores by the pixels, through guided ReLUs."""
    pixels_BCTHW = pixels_BCTHW.detach().requires_grad_()
    with torch.enable_grad(), guided_rectifiers():
        (gradient,) = torch.autograd.grad(scores(pixels_BCTHW).sum(), pixels_BCTHW)
    return gradient


def guided_grad_cam(gradient_BCTHW: Tensor, map_BTHW: Tensor) -> Tensor:
    """Guided Grad-CAM (B, T, H, W) at the pixels of the clip.

    The guided gradient times the map, spread trilinearly over the pixels; of the three
    colours the largest magnitude, as saliency maps are shown.
    """
    size = gradient_BCTHW.shape[2:]
    fine = functional.interpolate(map_BTHW[:, None], size, mode="trilinear", align_corners=False)
    return (gradient_BCTHW * fine).abs().amax(1)


@contextmanager
def guided_rectifiers() -> Iterator[None]:
    """Inside, gradients pass a ReLU only where its input and they themselves are positive.

    Every form of ReLU is met, in modules and as functions, also those that work in place,
    which compute into fresh memory here.
    """
    with _GuidedMode():
        yield


class _GuidedMode(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _RECTIFIERS:
            return _GuidedReLU.apply(args[0])  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clamp(min=0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (out > 0)
