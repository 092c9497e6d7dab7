"""CtP: the worked numbers and properties of ctp.md section 10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.objective import Objective
from stages.learning.sample import Sample
from stages.pretrain.methods.ctp import (
    CtP,
    alpha_mask,
    box_iou,
    decode_motion,
    encode_motion,
    paste_patches,
)
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


def clip(num_frames: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, 64, 64, 3), dtype=np.uint8)


def test_targets() -> None:
    target = encode_motion(WORKED, **SCALES)[0]
    expected = torch.tensor(
        [[0, 0, 0, 0], [3.75, -2.5, 0, 0], [8.75, -3.75, 2.382754, 2.001068]]
    ).double()
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("value", "centre", "size"), [(0.0, 5.583333, 1.127941), (0.5, 5.666667, 0.961274)]
)
def test_loss_on_worked_numbers(value: float, centre: float, size: float) -> None:
    target = encode_motion(WORKED, **SCALES)
    residual = torch.nn.functional.smooth_l1_loss(
        torch.full_like(target, value), target, reduction="none"
    )
    assert residual[..., :2].sum().item() / 3 == pytest.approx(centre, abs=1e-6)
    assert residual[..., 2:].sum().item() / 3 == pytest.approx(size, abs=1e-6)


def test_decode_inverts_encode() -> None:
    again = decode_motion(encode_motion(WORKED, **SCALES), WORKED[:, 0], **SCALES)
    torch.testing.assert_close(again, WORKED, atol=1e-4, rtol=0)
    torch.testing.assert_close(box_iou(again, WORKED), torch.ones(1, 3).double())


def test_paste_worked_number() -> None:
    frames = np.full((2, 64, 64, 3), 100, np.uint8)
    frames[0, 10:20, 10:20] = 200
    boxes = [[[10, 10, 20, 20], [30, 30, 40, 40]]]
    out = paste_patches(frames, bank(boxes, opacity_NKT=np.full((1, 1, 2), 0.85, np.float32)), 0)
    assert (out[1, 30:40, 30:40] == 185).all()


def test_pixels_outside_and_invisible_frames_are_untouched() -> None:
    frames = clip()
    boxes = [[[5, 5, 25, 25], [10, 8, 30, 28], [20, 8, 44, 30]]]
    visible = np.array([[[True, False, True]]])
    out = paste_patches(frames, bank(boxes, visible_NKT=visible), 0)
    assert (out[1] == frames[1]).all()
    assert np.abs(out[0].astype(int) - frames[0]).max() <= 1  # lands on its own pixels
    outside = np.ones((64, 64), bool)
    outside[8:30, 20:44] = False
    assert (out[2][outside] == frames[2][outside]).all()
    assert (out[2][~outside] != frames[2][~outside]).mean() > 0.5
    assert (frames == clip()).all()


def test_smaller_patch_wins() -> None:
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[0, :20, :20], frames[0, 40:44, 40:44] = 50, 250
    boxes = [[[40, 40, 44, 44], [10, 10, 14, 14]], [[0, 0, 20, 20], [0, 0, 20, 20]]]
    out = paste_patches(frames, bank(boxes), 0)
    assert (out[1, 10:14, 10:14] == 250).all()
    assert out[1, 5, 5, 0] == 50


@pytest.mark.parametrize("shape", ["rectangle", "ellipse", "rhombus"])
@pytest.mark.parametrize("edge", [0.0, 0.3, 0.45])
def test_mask_values(shape: str, edge: float) -> None:
    mask = alpha_mask(shape, edge, height=21, width=33)
    assert mask.shape == (21, 33)
    assert mask.min() >= 0
    assert mask.max() == 1
    assert mask[10, 16] == 1
    if shape != "rectangle":
        assert mask[0, 0] == 0


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


def test_views_follow_the_bank(make_frames: Any) -> None:
    boxes = np.tile(np.array([5, 5, 25, 25], np.int16), (2, 8, 1))
    frames = make_frames(kind=Shard, num_frames=20, size=(70, 90))
    sample = Sample(frames=frames, trajectories=bank(boxes))
    views = CtP(num_frames=8).views(sample, np.random.default_rng(0))
    assert views["clip"].shape == (8, 64, 64, 3)
    assert views["clip"].dtype == np.uint8
    assert views["boxes"].shape == (2, 8, 4)
    with pytest.raises(ParameterError, match=r"set synthesize.num_frames=16"):
        CtP(num_frames=16).views(sample, np.random.default_rng(0))
