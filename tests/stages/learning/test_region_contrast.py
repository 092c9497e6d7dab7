"""Regions, decoder and loss: the worked numbers and properties of constcl.md section 10."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from stages.learning.region_contrast import (
    CrossAttention,
    RegionDecoder,
    context_frames,
    region_loss,
    regions_and_context,
)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("length", "number", "frames"),
    [
        (8, 1, [4]),
        (8, 3, [2, 4, 6]),
        (8, 5, [2, 3, 4, 5, 6]),
        (8, 7, [1, 2, 3, 4, 5, 6, 7]),
        (16, 5, [2, 5, 8, 11, 14]),
        (5, 5, [0, 1, 2, 3, 4]),
        (2, 5, [0, 1]),
        (1, 5, [0]),
    ],
)
def test_context_frames(length: int, number: int, frames: list[int]) -> None:
    assert context_frames(length, number) == frames


def bilinear(map_CHW: Any, y: float, x: float) -> Any:
    """Value between cells whose coordinates are their indices, clamped at the border."""
    _, height, width = map_CHW.shape
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    dy, dx = y - top, x - left
    rows = map_CHW[:, top] * (1 - dy) + map_CHW[:, top + 1] * dy
    return rows[:, left] * (1 - dx) + rows[:, left + 1] * dx


def test_regions_are_means_of_samples_of_the_normalised_key_frame() -> None:
    maps = randn(2, 6, 8, 5, 7)
    boxes = torch.tensor(
        [[[0.1, 0.2, 0.5, 0.6], [0.8, 0.7, 0.999, 0.999]], [[0, 0, 1, 1], [0.3, 0.3, 0.31, 0.9]]]
    ).double()
    regions, context = regions_and_context(maps, boxes, context=3, bins=4)
    assert context.shape == (2, 6, 3, 5, 7)
    torch.testing.assert_close(context.norm(dim=1), torch.ones(2, 3, 5, 7).double())
    key = (maps / maps.norm(dim=1, keepdim=True))[:, :, 4].numpy()
    for i, n in np.ndindex(2, 2):
        x1, y1, x2, y2 = boxes[i, n].numpy() * [7, 5, 7, 5]
        steps = (np.arange(4) + 0.5) / 4
        samples = [
            bilinear(key[i], y1 + v * (y2 - y1), x1 + u * (x2 - x1)) for v in steps for u in steps
        ]
        np.testing.assert_allclose(regions[i, n], np.mean(samples, 0), rtol=1e-9)


def test_published_sizes() -> None:
    with torch.device("meta"):
        decoder = RegionDecoder(2048, layers=3, heads=3, dim=128)
        maps, boxes = torch.empty(2, 2048, 8, 7, 7), torch.empty(2, 8, 4)
        regions, context = regions_and_context(maps, boxes, context=5, bins=4)
        predicted, attention = decoder(regions, context)
    assert regions.shape == predicted.shape == (2, 8, 2048)
    assert attention.shape == (2, 3, 8, 245)
    assert decoder.layers[0].key.in_features == 2064
    assert [count(layer) for layer in decoder.layers] == [2_472_576, 1_833_600, 1_833_600]
    assert count(decoder.position) == 100
    assert count(decoder.output) == 788_480
    assert count(decoder) == 6_928_356


def literal_unit(layer: CrossAttention, head: int, x: torch.Tensor, memory: torch.Tensor) -> Any:
    """One unit as constcl.md section 4.3 writes it: every position is projected."""
    part = slice(head * layer.dim, (head + 1) * layer.dim)
    query, key, value = (
        functional.linear(tokens, p.weight[part], p.bias[part])
        for p, tokens in ((layer.query, x), (layer.key, memory), (layer.value, memory))
    )
    attention = torch.softmax(query @ key.mT / math.sqrt(layer.dim), -1)
    state = functional.layer_norm(
        attention @ value + query,
        (layer.dim,),
        layer.norm.weight[part],
        layer.norm.bias[part],
        eps=1e-12,
    )
    first, _, last = layer.perceptron
    state = functional.gelu(functional.linear(state, first.weight[part, :, 0], first.bias[part]))
    return functional.linear(state, last.weight[part, :, 0], last.bias[part]), attention


def test_attention_is_the_literal_formula() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(6, 10, heads=3, dim=4).double()
    for parameter in layer.parameters():  # not the ones and zeros of a fresh normalisation
        torch.nn.init.normal_(parameter)
    x, memory = randn(2, 5, 6), randn(2, 11, 10, seed=1)
    out, attention = layer(x, memory)
    for head in range(3):
        expected, weights = literal_unit(layer, head, x, memory)
        torch.testing.assert_close(out[..., 4 * head : 4 * head + 4], expected)
        torch.testing.assert_close(attention[:, head], weights)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 5).double())


def test_attention_without_keys_is_uniform_and_blind_to_order() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(6, 10, heads=3, dim=4).double()
    x, memory = randn(1, 2, 6), randn(1, 245, 10, seed=1)
    with torch.no_grad():
        layer.key.weight.zero_()
        layer.key.bias.zero_()
        out, attention = layer(x, memory)
        turned, _ = layer(x, memory.flip(1))
    torch.testing.assert_close(attention, torch.full_like(attention, 1 / 245))
    torch.testing.assert_close(out, turned)


def test_queries_do_not_see_each_other_and_positions_matter() -> None:
    torch.manual_seed(0)
    decoder = RegionDecoder(6, layers=3, heads=3, dim=4).double()
    regions, context = randn(1, 5, 6), randn(1, 6, 3, 2, 2, seed=1)
    out, _ = decoder(regions, context)
    alone, _ = decoder(regions[:, 2:3], context)
    torch.testing.assert_close(out[:, 2:3], alone)
    assert not torch.allclose(decoder(regions, context.flip(2))[0], out)


HAND = {
    "regions": [
        [[[1, 0], [0, 1]], [[0.8, 0.6], [0, 1]]],
        [[[2, 1], [1, -2]], [[1, 0], [0, -1]]],
    ],
    "predicted": [
        [[[1, 0], [0.6, 0.8]], [[1, 0], [0, 1]]],
        [[[1, 0], [0, 1]], [[0.6, 0.8], [1, 0]]],
    ],
}


def test_hand_example() -> None:
    predicted, regions = (torch.tensor(HAND[k]).double() for k in ("predicted", "regions"))
    everywhere = torch.ones(2, 2, 2, dtype=torch.bool)
    loss, _ = region_loss(predicted, regions, everywhere, temperature=0.2)
    assert float(loss) == pytest.approx(2.011102, abs=1e-6)
    # One query at a time: the others are still targets where they stand in the other view.
    first = [[1.318175, 0.313507], [0.318175, 10.126968]]
    second = [[0.502536, 0.061208], [0.616862, 2.831386]]
    assert np.mean(first) == pytest.approx(3.019206, abs=1e-6)
    assert np.mean(second) == pytest.approx(1.002998, abs=1e-6)
    for view, values in enumerate((first, second)):
        for i, n in np.ndindex(2, 2):
            valid = everywhere.clone()
            valid[:, view] = False
            valid[i, view, n] = True
            scores = region_loss(predicted, regions, valid, temperature=0.2)[0]
            # The other view has no negatives but in video i's place, so it adds its own part.
            other = reference(predicted, regions, valid, temperature=0.2)[1 - view]
            assert float(scores) == pytest.approx((values[i][n] + other) / 2, abs=1e-6)


def reference(
    predicted: torch.Tensor,
    regions: torch.Tensor,
    valid: torch.Tensor,
    *,
    temperature: float,
    mask_targets: bool = True,
) -> list[float]:
    """Losses of both directions by loops over constcl.md section 4.4."""

    def unit(values: torch.Tensor) -> Any:
        array = values.numpy()
        return array / np.linalg.norm(array, axis=-1, keepdims=True)

    z, h, mask = unit(predicted), unit(regions), valid.numpy()
    videos, _, count, _ = h.shape
    means = []
    for view in (0, 1):
        usable = mask[:, 1 - view] if mask_targets else np.ones((videos, count), bool)
        losses = []
        for i, n in np.ndindex(videos, count):
            if not mask[i, view, n] or not usable[i].any():
                continue
            near = max(np.flatnonzero(usable[i]), key=lambda k: h[i, view, n] @ h[i, 1 - view, k])
            positive = z[i, view, n] @ h[i, 1 - view, near] / temperature
            negatives = [
                z[i, view, n] @ h[p, 1 - view, q] / temperature
                for p in range(videos)
                for q in range(count)
                if p != i and usable[p, q]
            ]
            losses.append(np.log(np.exp([positive, *negatives]).sum()) - positive)
        means.append(float(np.mean(losses)) if losses else 0.0)
    return means


def published_example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tensors of the released code's own test of its loss."""
    up, up2, none, down2, down = [1, 2, 3, 4], [5, 6, 7, 8], [-1] * 4, [4, 3, 2, 1], [8, 7, 6, 5]
    first = torch.tensor(
        [[up, up2, none, none], [none, none, down2, down], [up, up2, down2, down]]
    ).double()
    second = torch.tensor(
        [[up, up2, none, none], [none, none, up2, down], [up, down2, up2, down]]
    ).double()
    second = torch.where(second > 0, second + 0.5, second)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    regions = torch.stack([first, second], 1)
    return regions.flip(1), regions, torch.stack([mask, mask], 1)


def test_published_example() -> None:
    """The loops give the published number; `region_loss` is the loops with masked targets."""
    predicted, regions, valid = published_example()
    losses = reference(predicted, regions, valid, temperature=0.2, mask_targets=False)
    assert losses == pytest.approx([1.723377, 1.610311], abs=1e-6)
    masked = reference(predicted, regions, valid, temperature=0.2)
    assert masked != pytest.approx(losses)
    loss, _ = region_loss(predicted, regions, valid, temperature=0.2)
    assert float(loss) == pytest.approx(np.mean(masked))


def test_random_masks_against_the_loops() -> None:
    predicted, regions = randn(4, 2, 3, 5), randn(4, 2, 3, 5, seed=1)
    for seed in range(5):
        valid = randn(4, 2, 3, seed=seed) > 0
        valid[0] = False
        valid[1, 1] = False  # targets of a view with valid queries
        loss, _ = region_loss(predicted, regions, valid, temperature=0.2)
        expected = np.mean(reference(predicted, regions, valid, temperature=0.2))
        assert float(loss) == pytest.approx(expected)


def test_nothing_valid_is_no_loss() -> None:
    predicted = randn(2, 2, 3, 5).requires_grad_()
    nothing = torch.zeros(2, 2, 3, dtype=torch.bool)
    loss, accuracy = region_loss(predicted, randn(2, 2, 3, 5, seed=1), nothing, temperature=0.2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert float(loss.detach()) == float(accuracy) == float(predicted.grad.abs().max()) == 0


def test_other_regions_of_the_video_are_no_negatives() -> None:
    predicted, regions = randn(3, 2, 4, 6), randn(3, 2, 4, 6, seed=1)
    valid = torch.zeros(3, 2, 4, dtype=torch.bool)
    valid[0, 0, 0] = True  # the only query
    valid[:, 1] = True
    unit = functional.normalize(regions, dim=-1)
    similarity = unit[0, 0, 0] @ unit[0, 1].T
    near, far = int(similarity.argmax()), int(similarity.argmin())
    found = []
    for unmatched in (regions[0, 1, far], -regions[0, 0, 0]):
        changed, leaf = regions.clone(), predicted.clone().requires_grad_()
        changed[0, 1, far] = unmatched
        loss, _ = region_loss(leaf, changed, valid, temperature=0.2)
        (gradient,) = torch.autograd.grad(loss, leaf)
        found.append(gradient[0, 0, 0])
    assert near != far
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.parametrize(("videos", "loss"), [(2, math.log(9)), (128, 6.924612)])
def test_collapse(videos: int, loss: float) -> None:
    alike = torch.ones(videos, 2, 8, 3, dtype=torch.float64)
    valid = torch.ones(videos, 2, 8, dtype=torch.bool)
    found, _ = region_loss(alike, alike, valid, temperature=0.2)
    assert float(found) == pytest.approx(math.log(1 + (videos - 1) * 8), abs=1e-9)
    assert float(found) == pytest.approx(loss, abs=1e-6)


def test_invariances() -> None:
    predicted, regions = randn(4, 2, 3, 5), randn(4, 2, 3, 5, seed=1)
    valid = randn(4, 2, 3, seed=2) > -1
    loss, accuracy = region_loss(predicted, regions, valid, temperature=0.2)
    lengths = 0.5 + torch.rand(4, 2, 3, 1, generator=torch.Generator().manual_seed(0))
    videos, rows = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    for changed in (
        (predicted * lengths, regions, valid),
        (predicted, regions * lengths, valid),
        (predicted[videos], regions[videos], valid[videos]),
        (predicted[:, :, rows], regions[:, :, rows], valid[:, :, rows]),
        (predicted.flip(1), regions.flip(1), valid.flip(1)),
    ):
        found = region_loss(*changed, temperature=0.2)
        torch.testing.assert_close(found, (loss, accuracy))


def test_targets_learn_too() -> None:
    predicted, regions = randn(2, 2, 3, 5), randn(2, 2, 3, 5, seed=1).requires_grad_()
    valid = torch.ones(2, 2, 3, dtype=torch.bool)
    region_loss(predicted, regions, valid, temperature=0.2)[0].backward()  # type: ignore[no-untyped-call]
    assert regions.grad is not None
    assert regions.grad.abs().sum() > 0


def test_loss_is_taken_in_single_precision_under_autocast() -> None:
    predicted, regions = (randn(4, 2, 3, 64, seed=seed).float() for seed in (0, 1))
    valid = torch.ones(4, 2, 3, dtype=torch.bool)
    plain, _ = region_loss(predicted, regions, valid, temperature=0.2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = region_loss(predicted, regions, valid, temperature=0.2)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain)
