"""MoCo in both directions: what the passes see, average, and leave behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.momentum_contrast import MomentumContrast, embed, embed_keys
from stages.learning.objective import Objective
from stages.pretrain.methods.moco import MoCo


def make(**changes: object) -> tuple[MomentumContrast, Objective]:
    torch.manual_seed(0)
    settings = MomentumContrast(queue_size=16, dim=6, hidden=8, **changes)
    return settings, Objective(MoCo(contrast=settings), build(EncoderSpec(width=4))).eval()


def views() -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.randn(4, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    return first, first.flip(2)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_symmetric_loss_is_the_mean_of_both_directions() -> None:
    _, objective = make()
    one_way = MomentumContrast(queue_size=16, dim=6, hidden=8, symmetric=False)
    first, second = views()
    there = one_way.step(objective, first, second, rng())
    back = one_way.step(objective, second, first, rng())
    both = MomentumContrast(queue_size=16, dim=6, hidden=8).step(objective, first, second, rng())
    torch.testing.assert_close(both.loss, (there.loss + back.loss) / 2)


def test_a_step_queues_both_keys_in_the_order_of_the_passes() -> None:
    settings, objective = make()
    first, second = views()
    result = settings.step(objective, first, second, rng())
    with torch.no_grad():
        keys = [embed(objective, second), embed(objective, first)]  # twins are equal at first
    settings.after_step(objective, result)
    queue = objective.heads["queue"]
    torch.testing.assert_close(queue.keys_KD[:8], torch.cat(keys))
    assert queue.place == 8


@pytest.mark.parametrize("reread", [False, True])
def test_only_the_released_code_meets_its_own_keys_as_negatives(reread: bool) -> None:
    settings, objective = make(reread_queue=reread)
    first, second = views()
    with torch.no_grad():
        # Filled with the opposite of the queries, so that no other negative is near.
        objective.heads["queue"].keys_KD.copy_(-embed(objective, first).mean(0).expand(16, 6))
    one_way = MomentumContrast(queue_size=16, dim=6, hidden=8, symmetric=False)
    there = one_way.step(objective, first, second, rng()).loss
    both = settings.step(objective, first, second, rng()).loss
    back = 2 * both - there
    clean = one_way.step(objective, second, first, rng()).loss
    if reread:
        # Twins are equal: a query of the second pass is one of its own negatives.
        assert back > np.log(2)
    else:
        torch.testing.assert_close(back, clean)


def test_the_twin_moves_once_a_step() -> None:
    settings, objective = make()
    result = settings.step(objective, *views(), rng())
    twin = objective.heads["twin_projector"].layers[0].weight
    before = twin.clone()
    with torch.no_grad():
        objective.heads["projector"].layers[0].weight.add_(1)
    settings.after_step(objective, result)
    torch.testing.assert_close(twin, before + 0.001, atol=1e-6, rtol=0)


def test_both_directions_teach_the_encoder() -> None:
    """The gradient of both is the mean of each direction's."""
    gradients = []
    for symmetric, order in ((True, 1), (False, 1), (False, -1)):
        settings, objective = make(symmetric=symmetric)
        settings.step(objective, *views()[::order], rng()).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in objective.encoder.parameters()]))
    torch.testing.assert_close(gradients[0], (gradients[1] + gradients[2]) / 2)
    assert not torch.allclose(gradients[1], gradients[2])


def test_no_gradient_reaches_twins_or_queue() -> None:
    settings, objective = make()
    assert not embed_keys(objective, views()[0].requires_grad_(), rng()).requires_grad
    first, second = (view.requires_grad_() for view in views())
    settings.step(objective, first, second, rng()).loss.backward()
    assert all(
        p.grad is None
        for name, head in objective.heads.items()
        if name.startswith("twin_")
        for p in head.parameters()
    )
    assert not any(b.requires_grad for b in objective.buffers())
