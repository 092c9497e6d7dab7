"""Recognition: the loss, dropout, what is frozen, what learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.evaluate.recognition import Head, Recognition
from stages.evaluate.training_clips import TrainingClips
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from stages.learning.method import Method
from stages.learning.objective import Objective
from stages.learning.sample import Sample

CLIPS = TrainingClips(num_frames=4, size=32)


def objective_of(**values: Any) -> Objective:
    torch.manual_seed(0)
    method = Recognition(clips=CLIPS, num_classes=3, **values)
    return Objective(method, random_encoder(EncoderSpec(width=4), seed=0))


def batch_of(count: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 4, 32, 32, 3)
    clip = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return {"clip": clip, "label": torch.arange(count) % 3}


def step(objective: Objective, seed: int = 0) -> Any:
    return objective(batch_of(), np.random.default_rng(seed))


def test_the_trainer_finds_it_and_gets_the_same_one() -> None:
    method = Recognition(clips=CLIPS, num_classes=5, frozen=True, mean=(0.5, 0.4, 0.3))
    assert Method.choose(method.model_dump(mode="json")) == method


def test_views_are_clip_and_class(make_frames: Any) -> None:
    method = Recognition(clips=CLIPS, num_classes=3)
    sample = Sample(frames=make_frames("a.mp4", num_frames=9), label=2)
    views = [method.views(sample, np.random.default_rng(1)) for _ in range(2)]
    assert views[0]["clip"].shape == (4, 32, 32, 3)
    assert views[0]["label"] == 2
    assert views[0]["label"].dtype == np.int64
    assert (views[0]["clip"] == views[1]["clip"]).all()
    assert method.picture(views[0]).ndim == 3


def test_loss_of_equal_logits_is_the_log_of_the_classes() -> None:
    objective = objective_of(head=Head(initial_std=1e-9))
    result = step(objective.eval())
    assert result.loss.item() == pytest.approx(np.log(3), abs=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_learns(frozen: bool) -> None:
    objective = objective_of(frozen=frozen, head=Head(normalise=True)).train()
    before = {key: value.clone() for key, value in objective.encoder.state_dict().items()}
    step(objective).loss.backward()
    assert objective.heads["classifier"].weight.grad.abs().max() > 0
    assert objective.encoder.training != frozen
    for name, parameter in objective.encoder.named_parameters():
        assert parameter.requires_grad != frozen
        assert (parameter.grad is None) == frozen, name
    same = [torch.equal(before[k], v) for k, v in objective.encoder.state_dict().items()]
    assert all(same) == frozen, "batch statistics move unless frozen"


def test_features_of_unit_length() -> None:
    objective = objective_of(head=Head(normalise=True)).eval()
    features = objective.method.features(objective, torch.randn(2, 3, 4, 32, 32))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def test_dropout_takes_its_share_and_keeps_the_mean() -> None:
    method = Recognition(head=Head(dropout=0.7))
    dropped = method._dropped(torch.ones(200, 300), np.random.default_rng(0))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.3])


@pytest.mark.parametrize("ctp_colour", [False, True])
def test_equal_draws_give_equal_losses_and_global_state_stays(ctp_colour: bool) -> None:
    clips = CLIPS.model_copy(update={"ctp_colour": ctp_colour})
    objective = objective_of(head=Head(dropout=0.5)).eval()
    object.__setattr__(objective.method, "clips", clips)
    state = torch.get_rng_state()
    losses = [step(objective, seed).loss.item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_logits_of_a_test_use_no_dropout_and_the_encoders_standardisation() -> None:
    objective = objective_of(head=Head(dropout=0.9), mean=(0.5, 0.4, 0.3), std=(0.5, 0.3, 0.2))
    objective.eval()
    clips = batch_of()["clip"]
    logits = objective.method.logits(objective, clips)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.5, 0.3, 0.2])
    pixels = ((clips / 255 - mean) / std).permute(0, 4, 1, 2, 3)
    expected = objective.heads["classifier"](objective.encoder(pixels).mean((2, 3, 4)))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_ranks_share_one_draw_of_the_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    method, ones = Recognition(head=Head(dropout=0.5)), torch.ones(8, 16)
    whole = method._dropped(ones, np.random.default_rng(0))
    monkeypatch.setattr("stages.learning.distributed.world_size", lambda: 2)
    halves = []
    for rank in range(2):
        monkeypatch.setattr(
            "stages.learning.distributed.local_rows",
            lambda n, rank=rank: slice(rank * n, (rank + 1) * n),
        )
        halves.append(method._dropped(ones[:4], np.random.default_rng(0)))
    assert torch.equal(torch.cat(halves), whole)
