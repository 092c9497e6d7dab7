"""CtP: the worked numbers and properties of ctp.md section 10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.learning.box_iou import box_iou
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.objective import Objective
from stages.learning.sample import Sample
from stages.learning.views import CropAndFlip
from stages.pretrain.methods.ctp import (
    CtP,
    decode_motion,
    encode_motion,
)
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.trajectories import sample_bank
from storage_schemas.errors import ParameterError
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories

SCALES = {"centre_scale": 0.8, "size_scale": 0.04}
WORKED = torch.tensor([[[40, 30, 60, 54], [43, 28, 63, 52], [46, 26, 68, 52]]]).double()


def bank(boxes: Any, **changes: Any) -> Trajectories:
    """One entry, everything visible, opaque and hard-edged unless told."""
    boxes_NKT4 = np.asarray(boxes, np.int16)[None]
    shape = boxes_NKT4.shape[:3]
    values = {
        "size": 64,
        "boxes_NKT4": boxes_NKT4,
        "visible_NKT": np.ones(shape, bool),
        "opacity_NKT": np.ones(shape, np.float32),
        "source_frame_NK": np.zeros(shape[:2], np.int16),
        "shape_NK": np.zeros(shape[:2], np.uint8),
        "edge_NK": np.zeros(shape[:2], np.float32),
    }
    return Trajectories(**{**values, **changes})


def test_targets() -> None:
    target = encode_motion(WORKED, **SCALES)[0]
    expected = torch.tensor(
        [[0, 0, 0, 0], [3.75, -2.5, 0, 0], [8.75, -3.75, 2.382754, 2.001068]]
    ).double()
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("value", "centre", "size", "total"),
    [(0.0, 5.583333, 1.127941, 6.711274), (0.5, 5.666667, 0.961274, 6.627941)],
)
def test_loss_on_worked_numbers(
    value: float, centre: float, size: float, total: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the method itself, whose predictions are all of one value."""
    given = []

    def predict(self: CtP, objective: Any, clips: Any, first_boxes: torch.Tensor) -> torch.Tensor:
        given.append(first_boxes)
        return torch.full((2, 3, 4), value)

    monkeypatch.setattr(CtP, "predict", predict)
    boxes = WORKED.float()[None].repeat(2, 1, 1, 1)  # two clips with a patch each
    batch = {"clip": torch.zeros(2, 3, 8, 8, 3, dtype=torch.uint8), "boxes": boxes}
    step = CtP(colour=False).loss(None, batch, np.random.default_rng(0))  # type: ignore[arg-type]
    assert step.metrics["centre"].item() == pytest.approx(centre, abs=1e-5)
    assert step.metrics["size"].item() == pytest.approx(size, abs=1e-5)
    assert step.loss.item() == pytest.approx(total, abs=1e-5)
    assert torch.equal(given[0], boxes[:, :, 0])  # of the first frame alone


def test_constants_are_the_published_ones() -> None:
    """ctp.md sections 2 and 4."""
    assert CtP().model_dump() == {
        "name": "ctp",
        "version": CtP.version,
        "num_frames": 16,
        "size": 112,
        "strides": (1, 2, 3, 4, 5),
        "flip_probability": 0.5,
        "colour": True,
        "patch_gain": 0.0,
        "paste_on": "worker",
        "hidden": 512,
        "roi_bins": 5,
        "initial_std": 0.001,
        "centre_scale": 0.8,
        "size_scale": 0.04,
    }


def test_published_head_starts_as_the_reference() -> None:
    heads = CtP().heads(build(EncoderSpec(width=16), **CtP.encoder_options))
    squeeze, (_, first, _, last) = heads["squeeze"], heads["boxes"]
    for layer in (first, last):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert squeeze.kernel_size == (2, 1, 1)
    fan_out = 128 * 2
    assert squeeze.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert not any(layer.bias.any() for layer in (squeeze, first, last))


def test_frames_are_shrunk_to_the_published_sides(
    make_frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short sides of 112, 128 and 144, of which a square of 112 is cut."""
    bank_112 = bank(np.tile(np.array([5, 5, 25, 25], np.int16), (1, 8, 1)), size=112)
    frames = make_frames(kind=Shard, num_frames=20, size=(120, 160))
    sample, method, seen = Sample(frames=frames, trajectories=bank_112), CtP(num_frames=8), []
    original = CropAndFlip.sample

    def listen(rng: Any, **options: Any) -> CropAndFlip:
        seen.append(original(rng, **options))
        return seen[-1]

    monkeypatch.setattr(CropAndFlip, "sample", listen)
    for seed in range(120):
        assert method.views(sample, np.random.default_rng(seed))["clip"].shape[1:3] == (112, 112)
    sides, counts = np.unique([crop.height for crop in seen], return_counts=True)
    assert sides.tolist() == [112, 128, 144]
    assert counts.min() > 20
    assert np.mean([crop.flip for crop in seen]) == pytest.approx(0.5, abs=0.15)


def test_decode_inverts_encode() -> None:
    again = decode_motion(encode_motion(WORKED, **SCALES), WORKED[:, 0], **SCALES)
    torch.testing.assert_close(again, WORKED, atol=1e-4, rtol=0)
    torch.testing.assert_close(box_iou(again, WORKED), torch.ones(1, 3).double())


@pytest.fixture
def objective() -> Objective:
    torch.manual_seed(0)
    method = CtP(num_frames=16, hidden=8, initial_std=0.1)
    return Objective(method, build(EncoderSpec(width=4), **CtP.encoder_options)).eval()


def test_published_head_size() -> None:
    heads = CtP().heads(build(EncoderSpec(), **CtP.encoder_options))
    assert sum(p.numel() for head in heads.values() for p in head.parameters()) == 7_111_744


def test_permuting_patches_permutes_predictions(objective: Objective) -> None:
    clips = torch.randn(2, 3, 16, 64, 64)
    boxes = torch.tensor([[[0, 0, 20, 20], [5, 9, 40, 30], [30, 30, 60, 64.0]]]).repeat(2, 1, 1)
    order = [2, 0, 1]
    with torch.no_grad():
        plain = CtP.predict(objective.method, objective, clips, boxes)  # type: ignore[arg-type]
        turned = CtP.predict(objective.method, objective, clips, boxes[:, order])  # type: ignore[arg-type]
    assert plain.shape == (6, 16, 4)
    torch.testing.assert_close(plain.unflatten(0, (2, 3))[:, order], turned.unflatten(0, (2, 3)))


def test_motion_is_told_in_single_precision_under_autocast(objective: Objective) -> None:
    clips, boxes = torch.randn(1, 3, 16, 64, 64), torch.tensor([[[5.0, 9, 40, 30]]])
    method: CtP = objective.method  # type: ignore[assignment]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = method.predict(objective, clips, boxes)
    assert found.dtype == torch.float32
    assert (found != found.bfloat16()).float().mean() > 0.9


def test_views_follow_the_bank(make_frames: Any) -> None:
    boxes = np.tile(np.array([5, 5, 25, 25], np.int16), (2, 8, 1))
    frames = make_frames(kind=Shard, num_frames=20, size=(70, 90))
    sample = Sample(frames=frames, trajectories=bank(boxes))
    views = CtP(num_frames=8, size=64).views(sample, np.random.default_rng(0))
    assert views["clip"].shape == (8, 64, 64, 3)
    assert views["clip"].dtype == np.uint8
    assert views["boxes"].shape == (2, 8, 4)
    with pytest.raises(ParameterError, match=r"set synthesize.num_frames=16"):
        CtP(num_frames=16, size=64).views(sample, np.random.default_rng(0))


@pytest.mark.parametrize("patch_gain", [0.0, 1.0])
def test_device_pastes_the_same_clip(make_frames: Any, patch_gain: float) -> None:
    """Views differ, loss and picture do not, under equal generators."""
    frames = make_frames(kind=Shard, num_frames=20, size=(70, 90))
    law = Synthesize(num_frames=8, size=64).law()
    sample = Sample(frames=frames, trajectories=sample_bank(np.random.default_rng(0), law, 9))
    found = []
    for paste_on in ("worker", "device"):
        method = CtP(
            num_frames=8,
            size=64,
            hidden=8,
            initial_std=0.1,
            paste_on=paste_on,
            patch_gain=patch_gain,
        )
        torch.manual_seed(0)
        objective = Objective(method, build(EncoderSpec(width=4), **CtP.encoder_options)).eval()
        views = method.views(sample, np.random.default_rng(5))
        batch = {k: torch.from_numpy(v)[None] for k, v in views.items()}
        with torch.no_grad():
            loss = objective(batch, np.random.default_rng(0)).loss
        found.append((views["clip"], loss, method.picture(views)))
    (pasted, loss, picture), (clean, device_loss, device_picture) = found
    assert (pasted != clean).mean() > 0.05
    assert torch.equal(loss, device_loss)
    np.testing.assert_array_equal(picture, device_picture)


def test_gain_makes_patches_stand_out(make_frames: Any) -> None:
    """All of one grey: without a gain nothing is to be seen of a patch."""
    frames = np.full((20, 70, 90, 3), 100, np.uint8)
    sample = Sample(
        frames=make_frames(kind=Shard, num_frames=20, size=(70, 90)),
        trajectories=bank(np.tile(np.array([5, 5, 25, 25], np.int16), (1, 8, 1))),
    )
    object.__setattr__(sample.frames, "decode", lambda indices: frames[indices])
    levels = set()
    for seed in range(12):
        for gain, expected in ((0.0, {100}), (1.0, {37, 255})):
            method = CtP(num_frames=8, size=64, patch_gain=gain)
            clip = method.views(sample, np.random.default_rng(seed))["clip"]
            found = set(np.unique(clip[:, 5:25, 5:25]).tolist())
            assert found <= expected
            assert (clip[:, 26:] == 100).all()
            levels |= found
    assert levels == {37, 100, 255}


def test_loss_does_not_depend_on_the_order_of_patches(objective: Objective) -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 30, (2, 3, 16, 2))
    boxes = np.concatenate([corner, corner + rng.integers(8, 34, corner.shape)], -1)
    clips = rng.integers(0, 256, (2, 16, 64, 64, 3), dtype=np.uint8)
    losses = []
    for order in ([0, 1, 2], [2, 0, 1]):
        batch = {
            "clip": torch.from_numpy(clips),
            "boxes": torch.from_numpy(boxes[:, order].astype(np.float32)),
        }
        with torch.no_grad():
            losses.append(objective(batch, np.random.default_rng(1)).loss)
    torch.testing.assert_close(losses[0], losses[1])


def test_identical_features_give_identical_predictions(objective: Objective) -> None:
    class Flat(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            one = torch.linspace(-1, 1, 32)[:, None, None, None]
            return one.expand(len(clips), 32, 2, 8, 8)

    objective.encoder = Flat()
    boxes = torch.tensor([[[8, 8, 20, 20], [5, 9, 40, 30], [30, 30, 60, 56.0]]])
    method: CtP = objective.method  # type: ignore[assignment]
    with torch.no_grad():
        found = method.predict(objective, torch.zeros(1, 3, 16, 64, 64), boxes)
    torch.testing.assert_close(found, found[:1].expand_as(found))
    assert found.abs().max() > 0


def test_first_frame_has_no_motion_and_a_perfect_prediction_no_loss(bank_boxes: Any) -> None:
    target = encode_motion(bank_boxes, **SCALES)
    assert (target[:, 0] == 0).all()
    residual = torch.nn.functional.smooth_l1_loss(target.clone(), target)
    assert residual == 0
    again = decode_motion(target, bank_boxes[:, 0], **SCALES)
    assert (again - bank_boxes).abs().max() < 1e-4


@pytest.fixture
def bank_boxes() -> torch.Tensor:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 90, (500, 16, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 22, corner.shape)], -1)
    return torch.from_numpy(boxes.astype(np.float64))


def test_map_is_finer_in_pretraining_than_downstream() -> None:
    fine, coarse = (build(EncoderSpec(width=4), **form) for form in (CtP.encoder_options, {}))
    coarse.load_state_dict(fine.state_dict())
    with torch.no_grad():
        clip = torch.zeros(1, 3, 8, 112, 112)
        assert fine(clip).shape == (1, 32, 1, 14, 14)
        assert coarse(clip).shape == (1, 32, 1, 7, 7)
