"""Maps against closed forms, against automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stages.evaluate.activation import (
    class_activation,
    class_agnostic,
    grad_cam,
    gradient_at,
    guided_grad_cam,
    guided_gradient,
)
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from storage_schemas.errors import ParameterError

CLASSES = 5


def encoder_of(name: str) -> nn.Module:
    """With batch statistics that are not those of a fresh encoder."""
    network = random_encoder(EncoderSpec(name=name, width=8), seed=3).eval()
    generator = torch.Generator().manual_seed(0)
    for key, buffer in network.named_buffers():
        if key.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
    return network


def linear(channels: int) -> nn.Linear:
    layer = nn.Linear(channels, CLASSES)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def pixels(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 8, 32, 32, generator=torch.Generator().manual_seed(2))


class Classifier(nn.Module):
    """What libraries take: a module from pixels to logits."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = encoder_of(name)
        self.layer = linear(int(self.encoder.out_channels))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(self.encoder(x).mean((2, 3, 4)))
        return logits

    def score(self, k: int) -> object:
        return lambda features: self.layer(features.mean((2, 3, 4)))[:, k]


def test_worked_example() -> None:
    """Two channels, three cells: all numbers by hand."""
    features = torch.tensor([[1.0, 2, 3], [4.0, 0, 2]]).view(1, 2, 3, 1, 1)
    weight = torch.tensor([[2.0, -1.0]])
    assert class_activation(features, weight).flatten().tolist() == [-2, 4, 4]
    assert class_agnostic(features).flatten().tolist() == [5, 2, 5]
    gradient = torch.tensor([[3.0, 0, 0], [-1.0, -1, -1]]).view_as(features)
    assert grad_cam(features, gradient).flatten().tolist() == [0, 2, 1]


def test_mean_of_cam_is_the_logit_without_bias() -> None:
    features, layer = torch.randn(3, 16, 2, 4, 4), linear(16)
    for k in range(CLASSES):
        cam = class_activation(features, layer.weight[[k] * 3])
        logits = layer(features.mean((2, 3, 4)))[:, k]
        torch.testing.assert_close(cam.mean((1, 2, 3)), logits - layer.bias[k])


@pytest.mark.parametrize("name", ["r3d18", "c3d", "s3dg", "r2plus1d18", "resnet50"])
def test_grad_cam_at_the_output_is_the_positive_part_of_cam(name: str) -> None:
    """Averages and a linear layer: every gradient is the weight over the number of cells."""
    model, x = Classifier(name), pixels()
    features, gradient = gradient_at(model.encoder, "", model.score(3), x)
    with torch.no_grad():
        torch.testing.assert_close(features, model.encoder(x))
    cells = features[0, 0].numel()
    cam = class_activation(features, model.layer.weight[[3, 3]])
    torch.testing.assert_close(grad_cam(features, gradient) * cells, cam.relu())


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_at_a_layer_is_that_of_what_follows(frozen: bool) -> None:
    """Beside a network that starts at that layer; in-place steps behind it do no harm."""
    model, x = Classifier("r3d18"), pixels()
    model.requires_grad_(not frozen)
    features, gradient = gradient_at(model.encoder, "stages.1", model.score(1), x)
    leaf = features.clone().requires_grad_()
    rest = model.encoder.stages[3](model.encoder.stages[2](leaf.clone()))
    (expected,) = torch.autograd.grad(model.score(1)(rest).sum(), leaf)
    torch.testing.assert_close(gradient, expected)
    # The stem ends in a ReLU in place, of which the normalisation's output is the input.
    before, _ = gradient_at(model.encoder, "stem.1", model.score(1), x)
    assert (before < 0).any()


def test_an_unknown_layer_is_named() -> None:
    model = Classifier("r3d18")
    with pytest.raises(ParameterError, match=r"no layer 'stage\.2'; did you mean 'stages\.2'"):
        gradient_at(model.encoder, "stage.2", model.score(0), pixels())
    assert not model.encoder._forward_hooks


def test_guided_relu_passes_only_what_is_positive_on_both_sides() -> None:
    x = torch.tensor([[-1.0, 2, 3, 0]])
    weight = torch.tensor([5.0, 7, -4, 1])
    for rectify in (torch.relu, nn.ReLU(), nn.ReLU(inplace=True), lambda y: (y * 1).relu_()):
        gradient = guided_gradient(lambda y, f=rectify: f(y * 1.0) @ weight, x)
        assert gradient.tolist() == [[0, 7, 0, 0]]


@pytest.mark.parametrize("name", ["c3d", "r3d18"])
def test_guided_gradient_is_that_of_guided_modules(name: str) -> None:
    """The oracle replaces each ReLU's gradient by a hook on its output."""
    model, x = Classifier(name), pixels()

    def oracle(y: Tensor) -> Tensor:
        """`x.relu()` whose incoming gradient is cut at zero."""
        out = y.relu()
        out.register_hook(lambda gradient: gradient.clamp(min=0))
        return out

    leaf = x.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "relu_", oracle)
        patch.setattr(nn.ReLU, "forward", lambda self, y: oracle(y))
        score = model(leaf)[:, 2].sum()
    (expected,) = torch.autograd.grad(score, leaf)
    found = guided_gradient(lambda y: model(y)[:, 2], x)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, torch.autograd.grad(model(leaf)[:, 2].sum(), leaf)[0])


def test_guided_grad_cam_is_zero_where_either_is() -> None:
    gradient = torch.zeros(1, 3, 4, 8, 8)
    gradient[0, 1, 2, 1, 1], gradient[0, 0, 2, 1, 1], gradient[0, 2, 0, 7, 7] = -3, 2, 5
    coarse = torch.zeros(1, 2, 4, 4)
    coarse[..., :2, :2] = 2
    found = guided_grad_cam(gradient, coarse)
    assert found.shape == (1, 4, 8, 8)
    assert found[0, 2, 1, 1] == 6, "the largest magnitude of three colours, times the map"
    assert found.count_nonzero() == 1
