"""Figures that tell a healthy encoder from a collapsed one."""

from __future__ import annotations

import math

import pytest
import torch

from stages.learning.health import Health, alignment, effective_rank, feature_std, uniformity


def test_even_directions_and_a_collapsed_encoder() -> None:
    torch.manual_seed(0)
    even = torch.randn(4096, 32)
    assert feature_std(even).item() == pytest.approx(1, abs=0.02)
    assert effective_rank(even).item() > 31
    collapsed = torch.ones(64, 32) * torch.rand(64, 1)
    assert feature_std(collapsed).item() == pytest.approx(0, abs=1e-5)
    assert effective_rank(collapsed).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_of_equal_singular_values_is_their_number(rank: int) -> None:
    features = torch.zeros(8, 16)
    features[:rank, :rank] = torch.eye(rank)
    assert effective_rank(features).item() == pytest.approx(rank, abs=1e-4)


def test_alignment_and_uniformity_on_worked_numbers() -> None:
    one = torch.tensor([[1.0, 0], [0, 1]])
    assert alignment(one, one).item() == 0
    assert alignment(one, -one).item() == pytest.approx(4)
    assert uniformity(one).item() == pytest.approx(-4)  # distance 2, one pair
    assert uniformity(torch.tensor([[1.0, 0], [-1, 0]])).item() == pytest.approx(-8)
    assert uniformity(one[:1]).item() == 0
    assert math.isfinite(uniformity(torch.ones(3, 2) / math.sqrt(2)).item())


def test_health_listens_to_the_newest_pass() -> None:
    encoder = torch.nn.Identity()
    health = Health(encoder)
    assert health.metrics() == {}
    encoder(torch.ones(4, 3, 1, 2, 2))
    encoder(torch.randn(4, 3, 1, 2, 2))
    assert health.metrics()["effective_rank"] > 1.5
