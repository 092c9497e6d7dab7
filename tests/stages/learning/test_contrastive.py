"""InfoNCE on worked numbers, the queue, and the momentum twin."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stages.learning.contrastive import (
    Projector,
    Queue,
    accuracy,
    contrast,
    follow,
    info_nce,
    momentum_copy,
)


def test_worked_numbers_of_rspnet() -> None:
    query, negatives = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1], [-1, 0], [0.6, -0.8]])
    near = contrast(query, torch.tensor([[0.8, 0.6]]), negatives, temperature=0.07)
    far = contrast(query, torch.tensor([[0.6, 0.8]]), negatives, temperature=0.07)
    torch.testing.assert_close(
        near, torch.tensor([[11.428571, 0.0, -14.285714, 8.571428]]), atol=1e-5, rtol=0
    )
    assert info_nce(near).item() == pytest.approx(0.055854, abs=1e-6)
    assert info_nce(far).item() == pytest.approx(0.693242, abs=1e-6)
    assert (info_nce(near) + info_nce(far)).item() == pytest.approx(0.749096, abs=1e-6)
    assert accuracy(near) == 1


def test_accuracy_counts_the_negatives_that_reach_the_positive() -> None:
    logits = torch.tensor([[3.0, 1, 2, 0], [1, 2, 0, 0], [1, 2, 3, 0], [1, 1, 0, 0]])
    assert [accuracy(logits, top=top).item() for top in (1, 2, 3)] == [0.25, 0.75, 1]
    assert accuracy(torch.zeros(4, 9), top=5) == 0  # vectors that fell together tell nothing


def test_logits_are_of_single_precision_under_autocast() -> None:
    """A bfloat16 product would move a logit by a thirtieth at the published temperature."""
    torch.manual_seed(0)
    query, positive, negatives = (
        nn.functional.normalize(torch.randn(count, 128), dim=1) for count in (8, 8, 512)
    )
    with torch.autocast("cpu", torch.bfloat16):
        mixed = contrast(query, positive, negatives, temperature=0.07)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, contrast(query, positive, negatives, temperature=0.07))


def test_equal_logits_give_the_logarithm_of_their_number() -> None:
    for size in (65536, 65280):
        assert info_nce(torch.zeros(2, 1 + size)).item() == pytest.approx(
            math.log(1 + size), abs=1e-4
        )


def test_a_random_queue_gives_what_theory_says() -> None:
    torch.manual_seed(0)
    queue = Queue(65536, 128)
    query = nn.functional.normalize(torch.randn(16, 128), dim=1)
    for cosine, expected in ((0.0, 11.8815), (0.5, 4.7473), (0.9, 0.3199), (1.0, 0.0865)):
        other = torch.randn(16, 128)
        other = nn.functional.normalize(other - (other * query).sum(1, keepdim=True) * query, dim=1)
        positive = cosine * query + math.sqrt(1 - cosine**2) * other
        loss = info_nce(contrast(query, positive, queue.keys_KD, temperature=0.07))
        assert loss.item() == pytest.approx(expected, abs=0.02)


def test_a_self_negative_costs_what_the_reference_flaw_costs() -> None:
    size = 2048
    clean, flawed = torch.zeros(1, 1 + size), torch.zeros(1, 1 + size)
    clean[0, 0] = flawed[0, 0] = 0.8 / 0.1
    flawed[0, 1] = 0.95 / 0.1
    assert info_nce(clean).item() == pytest.approx(0.523, abs=1e-3)
    assert info_nce(flawed).item() == pytest.approx(1.819, abs=1e-3)


def test_the_queue_is_first_in_first_out_and_wraps_within_a_batch() -> None:
    queue = Queue(5, 2)
    torch.testing.assert_close(queue.keys_KD.norm(dim=1), torch.ones(5))
    rows = torch.arange(14.0).view(7, 2)
    queue.push(rows[:3])
    assert queue.place == 3
    before = queue.keys_KD.clone()
    promised = queue.after(rows[3:6])
    assert torch.equal(queue.keys_KD, before)
    queue.push(rows[3:6])
    assert torch.equal(queue.keys_KD, promised)
    assert torch.equal(queue.keys_KD, rows[[5, 1, 2, 3, 4]])
    assert queue.place == 1


def test_a_batch_larger_than_the_queue_leaves_its_newest_keys() -> None:
    queue = Queue(3, 2)
    rows = torch.arange(10.0).view(5, 2)
    queue.push(rows)
    assert sorted(queue.keys_KD[:, 0].tolist()) == [4, 6, 8]


def test_the_twin_follows_parameters_but_not_buffers() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    twin = momentum_copy(module)
    assert not any(p.requires_grad for p in twin.parameters())
    old = twin[0].weight.clone()
    with torch.no_grad():
        module[0].weight.add_(1)
    module[1].running_mean.fill_(7)
    follow(twin, module, momentum=0.999)
    torch.testing.assert_close(
        twin[0].weight,
        0.999 * old + 0.001 * module[0].weight,
        atol=1e-7,
        rtol=0,
    )
    assert not twin[1].running_mean.any()


@pytest.mark.parametrize("hidden", [None, 6])
def test_the_projector_gives_unit_vectors(hidden: int | None) -> None:
    projector = Projector(4, 3, hidden=hidden)
    out = projector(torch.randn(5, 4, 2, 3, 3))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(5))
    assert sum(isinstance(m, nn.Linear) for m in projector.modules()) == (2 if hidden else 1)
