"""Grad-CAM, guided backpropagation and Guided Grad-CAM beside captum's, and what each costs.

    pip install captum    # in an environment of its own, beside this one
    python benchmarks/captum_parity.py

Differences are the largest over the largest value. captum's guided backpropagation replaces
the gradients of ``nn.ReLU`` modules and passes over ReLUs that are called as functions; of
encoders with such the figures are in brackets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import GuidedBackprop, GuidedGradCam, LayerGradCam
from torch import Tensor, nn

from stages.evaluate.activation import grad_cam, gradient_at, guided_grad_cam, guided_gradient
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder

# Encoder, layer, and whether there are ReLUs that are no modules.
CASES = (
    ("c3d", "stages.3", False), ("s3dg", "", False), ("r3d18", "stages.2", True),
    ("r2plus1d18", "", True),
)  # fmt: skip
ROUNDS = 3


class Classifier(nn.Module):
    """An encoder, averages, a linear layer."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, nn.Linear(encoder.out_channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.logits(self.encoder(x))

    def logits(self, features: Tensor) -> Tensor:
        """Of the encoder's map."""
        found: Tensor = self.layer(features.mean((2, 3, 4)))
        return found


def main() -> None:
    """Print a line for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    width = parser.parse_args().width
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pixels = torch.randn(2, 3, 16, 112, 112)
    print(
        "| encoder | layer | Grad-CAM | guided | both | s, captum's s |\n|---|---|---|---|---|---|"
    )
    for name, layer, functions in CASES:
        encoder = random_encoder(EncoderSpec(name=name, width=width), seed=0)  # type: ignore[arg-type]
        model = Classifier(encoder).eval()
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # captum's hooks ask for it
        figures = compare(model, layer, pixels, functions=functions)
        print(f"| {name} | {layer or 'output'} | {' | '.join(figures)} |", flush=True)


def compare(model: Classifier, layer: str, pixels: Tensor, *, functions: bool) -> list[str]:
    """Largest differences of three maps, and seconds of what leads to the last."""
    at = model.encoder.get_submodule(layer)
    with torch.no_grad():
        target = int(model(pixels).mean(0).argmax())

    def ours() -> tuple[Tensor, Tensor, Tensor]:
        def score(features: Tensor) -> Tensor:
            return model.logits(features)[:, target]

        coarse = grad_cam(*gradient_at(model.encoder, layer, score, pixels))
        gradient = guided_gradient(lambda x: model(x)[:, target], pixels)
        return coarse, gradient, guided_grad_cam(gradient, coarse)

    leaf = pixels.clone().requires_grad_()

    def theirs() -> Tensor:
        both = GuidedGradCam(model, at).attribute(leaf, target=target, interpolate_mode="trilinear")
        return both.detach().abs().amax(1)

    coarse = LayerGradCam(model, at).attribute(leaf, target=target, relu_attributions=True)
    gradient = GuidedBackprop(model).attribute(leaf, target=target)
    expected = coarse[:, 0].detach(), gradient.detach(), theirs()

    differences = [
        f"{float((a - b).abs().max() / b.abs().max()):.1e}"
        for a, b in zip(ours(), expected, strict=True)
    ]
    if functions:
        differences[1:] = [f"({text})" for text in differences[1:]]
    return [*differences, f"{seconds(ours):.2f}, {seconds(theirs):.2f}"]


def seconds(work: Callable[[], Any]) -> float:
    """Least process seconds of a few rounds."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


if __name__ == "__main__":
    main()
