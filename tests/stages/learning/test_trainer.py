"""Parts of the loop: pieces of a batch, weight decay, memory order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.stage import Context
from stages.learning.devices import put_channels_last
from stages.learning.optimisation import Optimisation
from stages.learning.optimiser import decay_groups
from stages.learning.train_spec import TrainSpec
from stages.learning.trainer import Trainer
from stages.synthesize.synthesize import Synthesize
from storage_schemas.errors import StageFailed
from storage_schemas.shards import Shard


@pytest.fixture
def make_trainer(tmp_path: Path, make_frames: Any) -> Any:
    shards, bank = tmp_path / "shards", tmp_path / "bank"
    shards.mkdir()
    bank.mkdir()
    items = {
        f"{i}.mp4": make_frames(f"{i}.mp4", kind=Shard, seed=i, size=(64, 72)).to_tables()
        for i in range(4)
    }
    Shard.write_part(shards, items)
    Synthesize(num_frames=8, size=64, num_trajectories=4).run(ctx=Context(work=tmp_path)).write(
        bank
    )

    def make(method: dict[str, Any] | None = None, **optimisation: Any) -> Trainer:
        spec = TrainSpec(
            method=method
            or {
                "name": "ctp",
                "num_frames": 8,
                "size": 64,
                "hidden": 8,
                "strides": [1],
                "initial_std": 0.05,
            },
            encoder={"width": 4},
            optimisation={"epochs": 1, "batch_size": 4, **optimisation},
            seed=0,
            shards=[str(shards)],
            annotations={"trajectories": [str(bank)]},
            folder=str(tmp_path),
            device="cpu",
        )
        return Trainer(spec)

    return make


def batch_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    rows = [trainer.examples[0, i] for i in range(4)]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.parameters])


def test_pieces_add_up_to_the_gradient_of_the_whole_batch(make_trainer: Any) -> None:
    """With batch statistics frozen and colours off, which see a piece at a time."""
    method = {
        "name": "ctp",
        "num_frames": 8,
        "size": 64,
        "hidden": 8,
        "colour": False,
        "initial_std": 0.05,
    }
    found = []
    for accumulate in (1, 2, 4):
        trainer = make_trainer(method, accumulate=accumulate)
        trainer.objective.eval()
        result = trainer.train_step(trainer.objective, batch_of(trainer), rate=0.1)
        found.append((result["loss"], weights(trainer)))
    for loss, moved in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(moved, found[0][1], atol=1e-5, rtol=1e-4)


def test_pieces_must_divide_the_batch(make_trainer: Any) -> None:
    trainer = make_trainer(accumulate=3)
    with pytest.raises(StageFailed, match=r"accumulate is 3: it must divide .* \(4 videos\)"):
        trainer.train_step(trainer.objective, batch_of(trainer), rate=0.1)


def test_gradients_are_clipped_and_their_norm_is_told(make_trainer: Any) -> None:
    moved, norms = [], []
    for clip in (1e6, 1e-3):
        trainer = make_trainer(gradient_clip=clip, weight_decay=0.0, momentum=0.0)
        before = weights(trainer)
        numbers = trainer.train_step(trainer.objective, batch_of(trainer), rate=0.5)
        moved.append((weights(trainer) - before).norm().item())
        norms.append(numbers["gradient_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)  # as it was before clipping
    assert moved == pytest.approx([0.5 * norms[0], 0.5 * 1e-3], rel=1e-2)


def test_all_keys_of_all_pieces_are_queued(make_trainer: Any) -> None:
    contrast = {"queue_size": 16, "hidden": 8}
    method = {"name": "moco", "num_frames": 4, "size": 32, "contrast": contrast}
    trainer = make_trainer(method, accumulate=2)
    queue = trainer.objective.heads["queue"]
    before = queue.keys_KD.clone()
    trainer.train_step(trainer.objective, batch_of(trainer), rate=0.1)
    assert queue.place == 8  # four videos, both ways
    assert (queue.keys_KD != before).any(1).tolist() == [True] * 8 + [False] * 8


def test_vectors_may_be_spared_from_weight_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    parameters = list(model.parameters())
    (all_of_them,) = decay_groups(parameters, Optimisation(weight_decay=0.5))
    assert all_of_them["params"] == parameters
    kernels, rest = decay_groups(
        parameters, Optimisation(weight_decay=0.5, decay_kernels_only=True)
    )
    assert [p.shape for p in kernels["params"]] == [(3, 2)]
    assert (kernels["weight_decay"], rest["weight_decay"], len(rest["params"])) == (0.5, 0, 3)


def test_channels_last_changes_the_order_in_memory_and_nothing_else(make_trainer: Any) -> None:
    plain, turned = make_trainer(), make_trainer(channels_last=True)
    batch, generator = batch_of(plain), np.random.default_rng
    torch.testing.assert_close(
        turned.objective(batch, generator(0)).loss, plain.objective(batch, generator(0)).loss
    )
    kernel = turned.objective.encoder.stages[0][0].conv1.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)
    flat = nn.Conv2d(4, 4, 3)
    put_channels_last(flat)
    assert flat.weight.is_contiguous(memory_format=torch.channels_last)
