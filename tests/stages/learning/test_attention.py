"""Grad-CAM in closed form against double backward, and worked numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stages.learning.attention import (
    attention_loss,
    shrink_mask,
    similarity_activation,
    similarity_map,
)
from stages.learning.contrastive import Projector
from storage_schemas.errors import ParameterError

TEMPERATURE = 0.07


def oracle(features: Tensor, projector: Projector, key: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and stretched map by the gradient of the logit, as the released code."""
    logit = (projector(features) * key).sum(1) / TEMPERATURE
    (gradient,) = torch.autograd.grad(logit.sum(), features, create_graph=True)
    alpha = gradient.mean((2, 3, 4))
    raw = torch.einsum("bc,bcthw->bthw", alpha, features).relu()
    low, high = raw.amin((1, 2, 3), keepdim=True), raw.amax((1, 2, 3), keepdim=True)
    return gradient, (raw - low) / (high - low + 1e-7 / TEMPERATURE / features[0, 0].numel())


@pytest.mark.parametrize("size", [(1, 3, 4), (2, 3, 3)])
def test_closed_form_equals_double_backward_with_its_gradients(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    projector = Projector(6, 4).double()
    key = functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1)
    mask = (torch.rand(5, *size[1:]) > 0.5).double()
    found = []
    for closed in (True, False):
        torch.manual_seed(1)
        features = torch.randn(5, 6, *size, dtype=torch.float64).requires_grad_()
        projector.zero_grad()
        if closed:
            seen = similarity_map(features, projector, key)
        else:
            gradient, seen = oracle(features, projector, key)
            spread = gradient.flatten(2)
            torch.testing.assert_close(spread, spread[..., :1].expand_as(spread))
        attention_loss(seen, mask, torch.ones(5)).backward()
        found.append((seen.detach(), features.grad.clone(), projector.linear.weight.grad.clone()))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8)


def hand() -> tuple[Tensor, Projector, Tensor]:
    features = torch.tensor([[[4.0, 0], [0, 0]], [[0, 2], [0, 2]]]).view(1, 2, 1, 2, 2)
    projector = Projector(2, 2)
    with torch.no_grad():
        projector.linear.weight.copy_(torch.eye(2))
        projector.linear.bias.zero_()
    return features, projector, torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize(
    ("relu_first", "expected", "loss"),
    [(True, [[1.0, 0], [0, 0]], 0.0), (False, [[1.0, 0], [0.333333, 0]], 0.051317)],
)
def test_the_hand_example(relu_first: bool, expected: list[list[float]], loss: float) -> None:
    seen = similarity_map(*hand(), relu_first=relu_first)
    torch.testing.assert_close(seen[0, 0], torch.tensor(expected), atol=1e-5, rtol=0)
    on = torch.tensor([[[1.0, 0], [0, 0]]])
    off = torch.tensor([[[0.0, 1], [0, 1]]])
    one = torch.ones(1)
    assert attention_loss(seen, on, one).item() == pytest.approx(loss, abs=1e-5)
    assert attention_loss(seen, off, one).item() == pytest.approx(1, abs=1e-5)


def test_maps_are_of_single_precision_under_autocast() -> None:
    """Also where query and key nearly agree, so that little is left of their difference."""
    torch.manual_seed(0)
    features, projector = torch.randn(4, 16, 2, 3, 3), Projector(16, 8)
    key = functional.normalize(projector(features) + 0.01 * torch.randn(4, 8), dim=1).detach()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = similarity_map(features, projector, key)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, similarity_map(features, projector, key))


def test_scales_do_not_matter_and_a_constant_map_is_finite() -> None:
    torch.manual_seed(0)
    features, projector, key = torch.randn(3, 2, 1, 3, 3), Projector(2, 4), torch.randn(3, 4)
    key = functional.normalize(key, dim=1)
    mask = torch.rand(3, 3, 3)
    seen = similarity_map(features, projector, key)
    once = attention_loss(seen, mask, torch.ones(3))
    torch.testing.assert_close(attention_loss(5 * seen, 3 * mask, torch.ones(3)), once)
    flat = torch.zeros(1, 2, 1, 3, 3, requires_grad=True)
    loss = attention_loss(similarity_map(flat, projector, key[:1]), mask[:1], torch.ones(1))
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(flat.grad).all()


def test_the_mean_is_over_clips_with_a_mask() -> None:
    seen = torch.zeros(4, 1, 1, 2)
    wanted = torch.tensor([0.2, 0.5, 0.9, 0.1])
    seen[:, 0, 0, 0], seen[:, 0, 0, 1] = 1 - wanted, (1 - (1 - wanted) ** 2).sqrt()
    mask = torch.tensor([[[1.0, 0.0]]]).expand(4, 1, 2)
    flags = torch.tensor([1, 0, 1, 0], dtype=torch.uint8)
    assert attention_loss(seen, mask, flags).item() == pytest.approx(0.55, abs=1e-6)
    assert attention_loss(seen, mask, torch.zeros(4)).item() == 0
    gone = mask.clone()
    gone[0] = 0  # a mask that vanished in shrinking does not count
    assert attention_loss(seen, gone, flags).item() == pytest.approx(0.9, abs=1e-6)


def test_a_mask_on_the_feature_map() -> None:
    mask = torch.zeros(2, 224, 224)
    mask[0, 64:160, 32:96] = 1
    mask[1, 5:30, 5:30] = 1
    for pooling in ("area", "points"):
        small = shrink_mask(mask, (7, 7), pooling=pooling)
        expected = torch.zeros(7, 7)
        expected[2:5, 1:3] = 1
        torch.testing.assert_close(small[0], expected)
        assert bool(small[1].any()) == (pooling == "area")  # small ones vanish between points


def test_a_projector_with_a_hidden_layer_is_refused() -> None:
    with pytest.raises(ParameterError, match="a single linear one"):
        similarity_map(torch.zeros(1, 2, 1, 1, 1), Projector(2, 2, hidden=3), torch.zeros(1, 2))


def test_similarity_activation_by_hand() -> None:
    """Two channels, two cells, one weight: x = (1, 2) and (3, 1), W x = 7 and 11."""
    features = torch.tensor([[[2.0, 0], [1, 3]], [[4, 2], [0, 2]]]).view(2, 2, 1, 1, 2)
    weight = torch.tensor([[3.0, 2.0]])
    maps, similarity = similarity_activation(features, weight)
    averages = features.mean((2, 3, 4)) @ weight.T
    assert averages.flatten().tolist() == [7, 11]
    assert similarity == 77
    # 11 * (3 * F_0 + 2 * F_1) of the first clip, 7 * of the second.
    assert maps.flatten().tolist() == [88, 66, 84, 70]


def test_the_mean_of_either_map_is_the_similarity() -> None:
    """rspnet.md section 6, exactly; and the map is the gradient times the features."""
    torch.manual_seed(0)
    features = torch.randn(2, 16, 2, 7, 7, dtype=torch.float64).requires_grad_()
    weight = torch.randn(128, 16, dtype=torch.float64)
    maps, similarity = similarity_activation(features, weight)
    torch.testing.assert_close(maps.mean((1, 2, 3)), similarity.expand(2))
    (gradient,) = torch.autograd.grad(similarity, features)
    positions = features[0, 0].numel()
    torch.testing.assert_close(maps, positions * (gradient * features).sum(1))
    swapped, same = similarity_activation(features.flip(0), weight)
    torch.testing.assert_close(swapped, maps.flip(0))
    torch.testing.assert_close(same, similarity)
