"""ConST-CL as a whole: where its boxes come from, who learns from which loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import frames_of
from pydantic import ValidationError

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.health import Health
from stages.learning.objective import Objective
from stages.learning.region_contrast import region_loss
from stages.learning.sample import Sample
from stages.pretrain.methods.constcl import ConstCL, RegionContrast
from stages.pretrain.methods.simclr import SimCLR
from stages.pretrain.pretrain import Pretrain
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError
from storage_schemas.shards import Shard

SMALL: dict[str, Any] = {"num_frames": 8, "frame_stride": 1, "size": 32, "clip": {"hidden": 16}}


def test_constants_are_the_published_ones() -> None:
    """constcl.md sections 2 to 4; colours in ``test_clip_pair.py``."""
    assert ConstCL().model_dump(exclude={"first_colour", "second_colour"}) == {
        "name": "constcl",
        "version": ConstCL.version,
        "num_frames": 16,
        "frame_stride": 2,
        "size": 224,
        "crop_area": (0.3, 1.0),
        "crop_aspect": (0.5, 2.0),
        "colour": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "clip": {"dim": 128, "hidden": 2048, "hidden_layers": 3, "temperature": 0.1},
        "boxes": "random",
        "num_boxes": 8,
        "min_side": 0.05,
        "reach": 8,
        "region": {
            "bins": 4, "context": 5, "layers": 3, "heads": 3, "dim": 128, "temperature": 0.2,
            "weight": 0.001,
        },
    }  # fmt: skip
    identity = {"name": "constcl", "version": ConstCL.version}
    assert {**ConstCL().model_dump(), **SimCLR().model_dump(), **identity} == ConstCL().model_dump()


def make_sample(proposals: bool = False) -> Sample:
    """Twelve frames; their proposals are one box, which moves by a pixel a frame."""
    frames = frames_of("a.mp4", kind=Shard, num_frames=12, size=(48, 64))
    moved_T1 = np.arange(12)[:, None]
    boxes = Boxes(
        video_id="a.mp4",
        num_frames=12,
        height=48,
        width=64,
        frame=np.arange(12, dtype=np.int32),
        xyxy=(np.array([10, 8, 40, 38]) + moved_T1 * [1, 0, 1, 0]).astype(np.float32),
    )
    return Sample(frames=frames, proposals=boxes if proposals else None)


def test_random_boxes_are_drawn_for_each_view() -> None:
    views = ConstCL(**SMALL).views(make_sample(), np.random.default_rng(0))
    assert views["boxes"].shape == (2, 8, 4)
    assert views["boxes"].dtype == np.float32
    assert views["valid"].shape == (2, 8)
    assert views["valid"].all()
    x1, y1, x2, y2 = np.moveaxis(views["boxes"].astype(np.float32), -1, 0)
    assert ((x1 >= 0) & (x1 < x2) & (x2 <= 32) & (y1 >= 0) & (y1 < y2) & (y2 <= 32)).all()
    assert (views["boxes"][0] != views["boxes"][1]).any()
    assert (x1 != y1).all()


def test_correlated_boxes_by_name() -> None:
    method = ConstCL(**SMALL, boxes="correlated")
    boxes_2N4 = method.views(make_sample(), np.random.default_rng(0))["boxes"]
    assert (boxes_2N4[..., 0] == boxes_2N4[..., 1]).all()


def test_proposals_are_those_of_the_middle_frame_of_each_view() -> None:
    method, sample = ConstCL(**SMALL, boxes="proposals", min_side=0.2), make_sample(True)
    proposals = sample.proposals
    assert proposals is not None
    found = 0
    for seed in range(10):
        views = method.views(sample, np.random.default_rng(seed))
        pair = method.draw_pair(sample.frames, np.random.default_rng(seed))
        for view, (indices, crop) in enumerate(pair):
            expected = crop.apply_boxes(proposals.xyxy[[indices[4]]])[0]
            large = min(expected[2:] - expected[:2]) >= 0.2 * 32
            assert views["valid"][view].tolist() == [large] + [False] * 7
            if large:
                np.testing.assert_array_equal(views["boxes"][view, 0], expected)
            found += large
    assert found >= 10


def test_missing_proposals_are_told() -> None:
    method = ConstCL(**SMALL, boxes="proposals")
    with pytest.raises(ParameterError, match="bind its input `proposals`"):
        method.views(make_sample(), np.random.default_rng(0))


def test_proposals_are_read_only_where_asked_for() -> None:
    assert "proposals" in Pretrain(method={"name": "constcl", "boxes": "proposals"}).reads()  # type: ignore[arg-type]
    assert "proposals" not in Pretrain(method="constcl").reads()  # type: ignore[arg-type]


def test_an_encoder_with_one_branch_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"needs an encoder with two last stages, \w+ has one"):
        ConstCL().heads(build(EncoderSpec(width=4)))


def test_even_context_is_refused() -> None:
    with pytest.raises(ValidationError, match="4 context frames have no middle"):
        RegionContrast(context=4)


def make_objective(**more: Any) -> Objective:
    torch.manual_seed(0)
    method = ConstCL(**SMALL, **more)
    return Objective(method, build(EncoderSpec(width=4), **method.encoder_options))


def make_batch(method: ConstCL, videos: int = 3) -> dict[str, torch.Tensor]:
    samples = [
        Sample(frames=frames_of(f"{i}", kind=Shard, num_frames=12, size=(48, 64), seed=i))
        for i in range(videos)
    ]
    rows = [method.views(sample, np.random.default_rng(i)) for i, sample in enumerate(samples)]
    return {k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]}


def gradients(objective: Objective, loss: torch.Tensor) -> dict[str, float]:
    """Sum of magnitudes by part of the model; of the trunk, its first and last piece."""
    parts = {
        "stem": objective.encoder.stem,
        "trunk": objective.encoder.stages[2],  # type: ignore[index]
        "global stage": objective.encoder.stages[3],  # type: ignore[index]
        "region stage": objective.encoder.region_stage,
        "projector": objective.heads["projector"],
        "decoder": objective.heads["decoder"],
    }
    names = [(name, p) for name, part in parts.items() for p in part.parameters()]  # type: ignore[union-attr]
    found = torch.autograd.grad(
        loss, [p for _, p in names], retain_graph=True, materialize_grads=True
    )
    sums = dict.fromkeys(parts, 0.0)
    for (name, _), gradient in zip(names, found, strict=True):
        sums[name] += float(gradient.abs().sum())
    return sums


def test_branches_learn_from_their_own_loss_and_the_trunk_from_both() -> None:
    objective = make_objective(region={"dim": 8, "weight": 0.0})
    method: Any = objective.method
    batch = make_batch(method)
    clip = gradients(objective, objective(batch, np.random.default_rng(0)).loss)
    assert clip["region stage"] == clip["decoder"] == 0
    assert min(clip[k] for k in ("stem", "trunk", "global stage", "projector")) > 0

    encoder: Any = objective.encoder
    _, region_map = encoder.both_maps(method.network_input(batch, np.random.default_rng(0)))
    rows = method.expect_regions(objective, region_map, batch["boxes"] / method.size)
    loss, _ = region_loss(*rows, batch["valid"], temperature=0.2)
    region = gradients(objective, loss)
    assert region["global stage"] == region["projector"] == 0
    assert min(region[k] for k in ("stem", "trunk", "region stage", "decoder")) > 0


def test_total_is_weighted() -> None:
    objective = make_objective(region={"dim": 8, "weight": 0.25})
    batch = make_batch(objective.method)  # type: ignore[arg-type]
    step = objective(batch, np.random.default_rng(0))
    total = step.metrics["clip"] + 0.25 * step.metrics["region"]
    torch.testing.assert_close(step.loss.detach(), total)
    assert step.metrics["region"] > 0.1


def test_global_half_is_simclr() -> None:
    objective = make_objective()
    twin = Objective(SimCLR(**SMALL), build(EncoderSpec(width=4)))
    state = objective.state_dict()
    twin.load_state_dict({k: state[k] for k in twin.state_dict()})
    batch = make_batch(objective.method)  # type: ignore[arg-type]
    with torch.no_grad():
        step = objective(batch, np.random.default_rng(0))
        alone = twin(batch, np.random.default_rng(0))
    assert float(step.metrics["clip"]) == pytest.approx(float(alone.loss), rel=1e-6)


def test_predictions_come_from_the_other_view() -> None:
    """Changing one view's map changes its regions, and the predictions of the other's."""
    objective = make_objective().double().eval()
    method: Any = objective.method
    maps = torch.randn(4, 32, 2, 3, 3, dtype=torch.float64)
    boxes = torch.tensor([4.0, 4, 20, 28]).double().div(32).expand(2, 2, 5, 4)
    changed = maps.clone()
    changed[3] = torch.randn(32, 2, 3, 3, dtype=torch.float64)  # second view of video 1
    with torch.no_grad():
        predicted, regions = method.expect_regions(objective, maps, boxes)
        predicted_then, regions_then = method.expect_regions(objective, changed, boxes)
    assert predicted.shape == regions.shape == (2, 2, 5, 32)
    same_regions = (regions == regions_then).all(-1).all(-1)
    assert same_regions.tolist() == [[True, True], [True, False]]
    same = torch.isclose(predicted, predicted_then).all(-1).all(-1)
    assert same.tolist() == [[True, True], [False, False]]


def test_health_of_the_encoder_is_seen() -> None:
    objective = make_objective()
    health = Health(objective.encoder)
    objective(make_batch(objective.method), np.random.default_rng(0))  # type: ignore[arg-type]
    assert set(health.metrics()) == {"feature_std", "effective_rank"}


def test_picture_shows_both_views() -> None:
    method = ConstCL(**SMALL)
    views = method.views(make_sample(), np.random.default_rng(0))
    picture = method.picture(views)
    bare = method.picture(views | {"valid": np.zeros((2, 8), np.bool_)})
    assert picture.dtype == np.uint8
    assert picture.shape == bare.shape
    assert (picture != bare).any()


class GivenMaps(torch.nn.Module):
    """An encoder whose region maps are given."""

    region_stage, out_channels = None, 6

    def both_maps(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return maps, maps


@pytest.mark.parametrize(
    ("length", "covers", "cells"), [(8, (2 / 8, 7 / 8), 245), (2, (0, 1), 98), (1, (0, 1), 49)]
)
def test_attention_of_a_region_in_the_other_clip(
    length: int, covers: tuple[float, float], cells: int
) -> None:
    """constcl.md section 7: a 7 x 7 slice of 245 weights, mean of heads, summing to 1."""
    torch.manual_seed(0)
    method = ConstCL(**SMALL)
    objective = Objective(method, GivenMaps()).eval()
    maps = torch.randn(2, 6, length, 7, 7)
    weights = []
    objective.heads["decoder"].layers[-1].register_forward_hook(
        lambda module, args, out: weights.append(out[1])
    )
    with torch.no_grad():
        (found,) = method.maps(objective, maps, torch.tensor([0.1, 0.2, 0.5, 0.9]))
    (attention_1H1M,) = weights
    assert attention_1H1M.shape == (1, 3, 1, cells)
    assert (found.kind, found.clip, found.of_box, found.covers) == ("attention", 1, True, covers)
    torch.testing.assert_close(found.values_THW.sum((1, 2)), torch.ones(cells // 49))
    whole = attention_1H1M[0].mean(0).view(-1, 7, 7)
    middle = whole[2] if length == 8 else whole[length // 2]
    shown = found.values_THW[2] if length == 8 else found.values_THW[length // 2]
    torch.testing.assert_close(shown, middle / middle.sum())
    assert found.text == f"{100 * float(middle.sum()):.0f} % in the middle"


def test_attention_is_of_the_box_and_of_the_other_clip() -> None:
    """The first clip gives the region, the second one what is looked at."""
    torch.manual_seed(0)
    method = ConstCL(**SMALL)
    objective = Objective(method, GivenMaps()).eval()
    maps, box = torch.randn(2, 6, 2, 7, 7), torch.tensor([0.0, 0, 0.3, 0.3])

    def shown(maps: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            (found,) = method.maps(objective, maps, box)
        return found.values_THW

    before = shown(maps, box)
    elsewhere = maps.clone()
    elsewhere[0, :, :, 4:, 4:] = 0
    torch.testing.assert_close(shown(elsewhere, box), before)
    assert not torch.allclose(shown(elsewhere, box + 0.6), shown(maps, box + 0.6))
    other = maps.clone()
    other[1] = other[1].flip(-1)
    assert not torch.allclose(shown(other, box), before)
