"""SimCLR's loss: the worked numbers of constcl.md section 10, limits and invariances."""

from __future__ import annotations

import math

import pytest
import torch

from stages.learning.clip_contrast import ClipContrast, clip_loss

FIRST = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [4, 3, 2, 1], [8, 7, 6, 5]]).double()
SECOND = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1], [5, 6, 7, 8], [8, 7, 6, 5]]).double()


def loss_of(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(clip_loss(torch.cat([first, second]), temperature=0.1)[0])


def test_worked_numbers() -> None:
    loss, accuracy = clip_loss(torch.cat([FIRST, SECOND]), temperature=0.1)
    assert float(loss) == pytest.approx(4.136947, abs=1e-6)
    assert float(accuracy) == 0.5


@pytest.mark.parametrize(("videos", "loss"), [(2, 1.81591e-4), (4, 5.44725e-4), (1024, 0.177648)])
def test_views_that_agree_and_videos_that_do_not(videos: int, loss: float) -> None:
    units = torch.eye(videos, dtype=torch.float64)
    assert loss_of(units, units) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(("videos", "loss"), [(2, 2.197225), (4, 3.891820), (1024, 15.248261)])
def test_all_alike(videos: int, loss: float) -> None:
    ones = torch.ones(videos, 3, dtype=torch.float64)
    assert loss_of(ones, ones) == pytest.approx(loss, abs=1e-6)
    assert loss == pytest.approx(2 * math.log(2 * videos - 1), abs=1e-6)


def test_invariances() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 8, generator=generator, dtype=torch.float64)
    loss = loss_of(first, second)
    lengths = torch.rand(6, 1, generator=generator) + 0.5
    order = torch.randperm(6, generator=generator)
    assert loss_of(first * lengths, second) == pytest.approx(loss)
    assert loss_of(second, first) == pytest.approx(loss)
    assert loss_of(first[order], second[order]) == pytest.approx(loss)
    assert loss_of(first, second[order]) != pytest.approx(loss)


def test_projector_of_the_published_size() -> None:
    with torch.device("meta"):
        projector = ClipContrast().projector(2048)
        assert projector(torch.empty(2, 2048)).shape == (2, 128)
    assert sum(p.numel() for p in projector.parameters()) == 12_857_472
    norms = [layer for layer in projector if isinstance(layer, torch.nn.BatchNorm1d)]
    # 0.997 as Keras counts momentum
    assert [(norm.momentum, norm.eps) for norm in norms] == [(0.003, 1e-5)] * 3


def test_maps_are_averaged_and_projected() -> None:
    contrast = ClipContrast(hidden=16, hidden_layers=1, dim=4)
    projector = contrast.projector(3).eval()
    maps = torch.randn(4, 3, 2, 5, 5)
    loss, _ = contrast.loss(projector, maps)
    vectors = projector(maps.flatten(2).mean(-1))
    torch.testing.assert_close(loss, clip_loss(vectors, temperature=0.1)[0])


def test_loss_is_taken_in_single_precision_under_autocast() -> None:
    vectors = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = clip_loss(vectors, temperature=0.1)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, clip_loss(vectors, temperature=0.1)[0])
