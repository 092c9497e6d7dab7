"""RSPNet's machinery: the speed split, the margin loss, what each head learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.method import Step
from stages.learning.objective import Objective
from stages.learning.relative_speed import RelativeSpeed, speed_margin_loss
from stages.pretrain.methods.rspnet import RSPNet
from storage_schemas.errors import ParameterError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_split_gives_each_query_a_key_of_its_speed_and_one_of_the_other(batch: int) -> None:
    clip = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(batch, 3, 32, 2, 2)
    speeds = RelativeSpeed().split(clip, clip + 100, 16, rng(batch))
    slow, fast = torch.arange(16.0), torch.arange(0.0, 32, 2)
    is_slow = speeds.query[:, 0, 1, 0, 0] == 1
    assert is_slow.sum() == batch // 2
    assert torch.equal(speeds.is_fast, ~is_slow)
    for i in range(batch):
        own, other = (slow, fast) if is_slow[i] else (fast, slow)
        assert torch.equal(speeds.query[i, 0, :, 0, 0], own)
        assert torch.equal(speeds.same[i, 0, :, 0, 0], own + 100)
        assert torch.equal(speeds.other[i, 0, :, 0, 0], other + 100)


def test_a_step_may_draw_its_speed() -> None:
    """One for all clips of a step; as many frames are read as the largest needs."""
    clip = torch.arange(64.0).view(1, 1, 64, 1, 1).expand(6, 3, 64, 2, 2)
    seen = set()
    for seed in range(30):
        settings = RelativeSpeed(speed=4, lesser_speeds=(2, 1))
        speeds = settings.split(clip, clip, 16, rng(seed))
        assert speeds.query.shape == (6, 3, 16, 2, 2)
        steps = {int(x) for part in speeds[:3] for x in part.diff(dim=2).unique()}
        assert steps in ({1, 4}, {1, 2}, {1})
        assert speeds.is_fast.sum() == (0 if steps == {1} else 3)
        seen.add(max(steps))
    assert seen == {1, 2, 4}
    with pytest.raises(ValueError, match=r"must lie in 1..1"):
        RelativeSpeed(lesser_speeds=(4,))


@pytest.mark.parametrize(("kind", "convolutions", "norms"), [("conv", 2, 0), ("conv_bn", 1, 1)])
def test_projectors_may_convolve_the_map_before_they_average_it(
    kind: str, convolutions: int, norms: int
) -> None:
    """split_wrapper.py of the reference: ``ConvFc`` and ``ConvBnFc``."""
    _, objective = make(projector=kind)
    for name in ("video", "speed"):
        layers = list(objective.heads[name].modules())
        found = [layer for layer in layers if isinstance(layer, torch.nn.Conv3d)]
        assert [tuple(layer.weight.shape) for layer in found] == [(32, 32, 3, 3, 3)] * convolutions
        assert sum(isinstance(layer, torch.nn.BatchNorm3d) for layer in layers) == norms
        # An average alone could not tell a map from one whose places are dealt out anew.
        map_BCTHW = torch.randn(2, 32, 2, 4, 4)
        moved = map_BCTHW.flatten(2)[:, :, torch.randperm(32)].view_as(map_BCTHW)
        head = objective.heads[name].eval()
        assert not torch.allclose(head(map_BCTHW), head(moved), atol=1e-5)
    with pytest.raises(ParameterError, match="more than one layer"):
        _ = objective.heads["video"].linear


def test_speednets_task_tells_whether_the_query_is_fast() -> None:
    settings, objective = make(speed_task="absolute")
    assert settings.idle() == {"margin", "speed_temperature"}
    assert "twin_speed" not in objective.heads
    objective.eval()
    clips = torch.randn(4, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    speeds = settings.split(clips, clips.flip(0), 4, rng())
    head = objective.heads["speed"][-1]
    with torch.no_grad():
        logits = objective.encoder(speeds.query).mean((2, 3, 4)) @ head.weight[0] + head.bias
        chance = logits.sigmoid()
        right = torch.where(speeds.is_fast, chance, 1 - chance)
    step = settings.step(objective, speeds, rng())
    torch.testing.assert_close(step.metrics["speed"], -right.log().mean())
    torch.testing.assert_close(step.metrics["speed_accuracy"], (right > 0.5).float().mean())
    torch.testing.assert_close(step.loss, step.metrics["video"] + step.metrics["speed"])
    step.loss.backward()
    assert head.weight.grad.any()


def test_projectors_may_have_a_hidden_layer() -> None:
    encoder = build(EncoderSpec(width=4))
    for kind, shapes in (("linear", [(6, 32)]), ("mlp", [(32, 32), (6, 32)])):
        heads = RelativeSpeed(queue_size=8, dim=6, projector=kind).heads(encoder)
        for name in ("video", "speed", "twin_video", "twin_speed"):
            layers = [m for m in heads[name].modules() if isinstance(m, torch.nn.Linear)]
            assert [tuple(layer.weight.shape) for layer in layers] == shapes


@pytest.mark.parametrize(
    ("near", "far", "paper", "reference"),
    [(0.8, 0.6, 0.0, 0.0), (0.8, 0.75, 0.10, 1.285714), (0.7, 0.7, 0.15, 2.0),
     (0.6, 0.5, 0.05, 0.571429), (0.5, 0.6, 0.25, 3.428571)],
)  # fmt: skip
def test_margin_loss_on_worked_numbers(
    near: float, far: float, paper: float, reference: float
) -> None:
    a, b = torch.tensor([near]), torch.tensor([far])
    assert speed_margin_loss(a, b, margin=0.15, temperature=1).item() == pytest.approx(
        paper, abs=1e-6
    )
    assert speed_margin_loss(a, b, margin=2, temperature=0.07).item() == pytest.approx(
        reference, abs=1e-5
    )


def test_reference_loss_is_the_printed_one_with_margin_014_times_14() -> None:
    near, far = torch.rand(2, 64).mul(2).sub(1)
    reference = speed_margin_loss(near, far, margin=2, temperature=0.07)
    printed = speed_margin_loss(near, far, margin=0.14, temperature=1)
    assert reference.item() == pytest.approx(printed.item() / 0.07, rel=1e-5)


def test_presets_are_the_two_forms_of_the_margin() -> None:
    paper = RSPNet(preset="paper").relative
    assert (paper.margin, paper.speed_temperature) == (0.15, 1.0)
    mixed = RSPNet(preset="paper", relative={"queue_size": 9}).relative
    assert (mixed.margin, mixed.queue_size) == (0.15, 9)
    assert RSPNet().relative.margin == 2.0


def make(**changes: object) -> tuple[RelativeSpeed, Objective]:
    torch.manual_seed(0)
    settings = RelativeSpeed(queue_size=8, dim=6, **changes)
    method = RSPNet(num_frames=4, size=32, relative=settings)
    return settings, Objective(method, build(EncoderSpec(width=4)))


def run(settings: RelativeSpeed, objective: Objective) -> Step:
    clips = torch.randn(4, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    speeds = settings.split(clips, clips.flip(0), 4, rng())
    return settings.step(objective, speeds, rng())


def part(objective: Objective) -> None:
    """Move what is trained away from its twins, so that one cannot stand for the other."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.requires_grad:
                scale = 0.3 * parameter.abs().mean()
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def test_a_step_is_the_sum_of_both_tasks() -> None:
    """rspnet.md section 3: two cross entropies over one queue, and a hinge with no queue."""
    settings, objective = make(video_weight=0.7, speed_weight=1.3)
    part(objective)
    objective.eval()
    heads = objective.heads
    clips = torch.randn(4, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    speeds = settings.split(clips, clips.flip(0), 4, rng())
    with torch.no_grad():
        features = objective.encoder(speeds.query)
        video, speed = heads["video"](features), heads["speed"](features)
        near, far = (heads["twin_encoder"](clips) for clips in (speeds.same, speeds.other))
        keys = [heads["twin_video"](near), heads["twin_video"](far)]
        negatives = (video @ heads["queue"].keys_KD.T / 0.07).exp().sum(1)
        told = [((video * key).sum(1) / 0.07).exp() for key in keys]
        entropies = [-(own / (own + negatives)).log().mean() for own in told]
        gap = speed @ heads["twin_speed"](near).T - speed @ heads["twin_speed"](far).T
        hinge = (2 - gap.diagonal() / 0.07).clamp(min=0).mean()
        step = settings.step(objective, speeds, rng())
    torch.testing.assert_close(step.metrics["video"], entropies[0] + entropies[1])
    torch.testing.assert_close(step.metrics["speed"], hinge)
    torch.testing.assert_close(step.loss, 0.7 * sum(entropies) + 1.3 * hinge)
    torch.testing.assert_close(step.keep["keys"], keys[1])  # the key of the other speed


def test_each_projector_learns_from_its_own_task() -> None:
    for weights, silent in (({"speed_weight": 0.0}, "speed"), ({"video_weight": 0.0}, "video")):
        settings, objective = make(**weights)
        run(settings, objective).loss.backward()
        for name in ("video", "speed"):
            moved = any(p.grad.any() for p in objective.heads[name].parameters())
            assert moved == (name != silent)


@pytest.mark.parametrize("enqueue", ["other", "same"])
def test_the_queue_takes_the_chosen_key_and_the_twin_moves_after_the_step(enqueue: str) -> None:
    settings, objective = make(enqueue=enqueue)
    before = objective.heads["queue"].keys_KD.clone()
    result = run(settings, objective)
    assert torch.equal(objective.heads["queue"].keys_KD, before)
    assert not result.keep["keys"].requires_grad
    twin = next(objective.heads["twin_encoder"].parameters()).clone()
    with torch.no_grad():
        next(objective.encoder.parameters()).add_(1)
    settings.after_step(objective, result)
    assert torch.equal(objective.heads["queue"].keys_KD[:4], result.keep["keys"])
    torch.testing.assert_close(
        next(objective.heads["twin_encoder"].parameters()), twin + 0.001, atol=1e-6, rtol=0
    )


def test_loss_does_not_depend_on_the_order_of_the_batch() -> None:
    settings, objective = make()
    objective.eval()
    clips = torch.randn(4, 3, 8, 32, 32)
    speeds = settings.split(clips, clips.flip(0), 4, rng())
    turned = type(speeds)(*(part.flip(0) for part in speeds))
    torch.testing.assert_close(
        settings.step(objective, speeds, rng()).loss, settings.step(objective, turned, rng()).loss
    )


def maps_of(settings: RelativeSpeed, **zero: float) -> dict[tuple[str, int], torch.Tensor]:
    """Maps of two random clips by kind and clip; weights of the named heads are scaled."""
    torch.manual_seed(0)
    encoder = build(EncoderSpec(width=4))
    objective = Objective(RSPNet(num_frames=8, size=32, relative=settings), encoder).eval()
    with torch.no_grad():
        for name, scale in zero.items():
            objective.heads[name].layers[-1].weight.mul_(scale)
        found = list(settings.maps(objective, torch.randn(2, 3, 8, 32, 32)))
    for one in found:
        # As the text has it, to three digits.
        assert float(one.text.removeprefix("mean ")) == pytest.approx(
            float(one.values_THW.mean()), rel=5e-3
        )
    return {(one.kind, one.clip): one.values_THW for one in found}


KINDS = {(f"{kind}_similarity", clip) for kind in ("appearance", "motion") for clip in (0, 1)}


def test_each_head_has_a_map_of_its_own_on_either_clip() -> None:
    """The titles of the released figures are swapped: the video head shows appearance."""
    settings = RelativeSpeed(queue_size=8)
    whole = maps_of(settings)
    assert whole.keys() == KINDS
    assert all(map_THW.shape == (1, 2, 2) for map_THW in whole.values())
    for head, kind in (("video", "appearance"), ("speed", "motion")):
        without = maps_of(settings, **{head: 0.0})
        for (name, clip), map_THW in without.items():
            if name.startswith(kind):
                assert map_THW.abs().max() == 0
            else:
                torch.testing.assert_close(map_THW, whole[name, clip])


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"projector": "conv"}, KINDS),
        ({"projector": "conv_bn"}, KINDS),
        ({"projector": "mlp"}, set()),
        ({"speed_task": "absolute"}, {one for one in KINDS if one[0].startswith("appearance")}),
    ],
)
def test_only_linear_projectors_have_maps(
    settings: dict[str, Any], kinds: set[tuple[str, int]]
) -> None:
    assert maps_of(RelativeSpeed(queue_size=8, **settings)).keys() == kinds
