"""Pasting on a CPU: worked numbers, sections 3.5-3.7 and properties 4, 6 and 7 of ctp.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from stages.learning.paste import alpha_mask, brighten_table, paste_order, paste_patches, weigh
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.trajectories import sample_bank
from storage_schemas.trajectories import SHAPES, Patches, Trajectories

SIZE = 64


def patches(boxes: Any, **changes: Any) -> Patches:
    """Visible everywhere, opaque and hard-edged unless told."""
    boxes_KT4 = np.asarray(boxes, np.int16)
    k, t = boxes_KT4.shape[:2]
    values: dict[str, Any] = {
        "size": SIZE,
        "boxes_KT4": boxes_KT4,
        "visible_KT": np.ones((k, t), bool),
        "opacity_KT": np.ones((k, t), np.float32),
        "source_frame_K": np.zeros(k, np.int16),
        "shape_K": np.zeros(k, np.uint8),
        "edge_K": np.zeros(k, np.float32),
    }
    return Patches(**(values | changes))


def noise(num_frames: int = 3, size: int = SIZE) -> Any:
    return np.random.default_rng(0).integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def bank() -> Trajectories:
    law = Synthesize(num_patches=1).law()
    return sample_bank(np.random.default_rng(0), law, 150)


@pytest.mark.parametrize(
    ("under", "patch", "opacity", "expected"),
    [(100, 200, 0.85, 185), (100, 200, 1.0, 200), (200, 100, 0.8, 120), (255, 255, 0.9, 255)],
)
def test_worked_numbers(under: int, patch: int, opacity: float, expected: int) -> None:
    frames = np.full((2, SIZE, SIZE, 3), under, np.uint8)
    frames[0, 10:20, 10:20] = patch
    one = patches(
        [[[10, 10, 20, 20], [30, 30, 40, 40]]], opacity_KT=np.full((1, 2), opacity, np.float32)
    )
    out = paste_patches(frames, one)
    assert (out[1, 30:40, 30:40] == expected).all()


@pytest.mark.parametrize(("gain", "expected"), [(1.0, 100), (1.5, 150), (0.5, 50), (3.0, 255)])
def test_gain_brightens_the_patch_alone(gain: float, expected: int) -> None:
    frames = np.full((2, SIZE, SIZE, 3), 100, np.uint8)
    one = patches([[[10, 10, 20, 20], [30, 30, 40, 40]]])
    out = paste_patches(frames, one, gain_K=np.array([gain]))
    assert (out[1, 30:40, 30:40] == expected).all()
    assert (out[1, :30] == 100).all()
    for level in (0, 1, 254, 255):  # a gain of 1 changes nothing
        assert brighten_table(256)[level] == level


def test_only_visible_boxes_change(bank: Trajectories) -> None:
    frames = noise(16, 112)
    for one in bank:
        out = paste_patches(frames, one)
        for t, (x1, y1, x2, y2) in enumerate(one.boxes_KT4[0]):
            changed = (out[t] != frames[t]).any(axis=-1)
            assert changed.any() == (one.visible_KT[0, t] and t != one.source_frame_K[0])
            changed[y1:y2, x1:x2] = False
            assert not changed.any()
    np.testing.assert_array_equal(frames, noise(16, 112))  # the input is as it was


def test_own_frame_stays_as_it_is(bank: Trajectories) -> None:
    """The reference changes it by up to one grey level."""
    frames = noise(16, 112)
    for one in bank:
        source = one.source_frame_K[0]
        np.testing.assert_array_equal(paste_patches(frames, one)[source], frames[source])


def test_close_to_floating_point(bank: Trajectories) -> None:
    """The formula of the reference: OpenCV's default resize, float alpha, truncation."""
    frames = cv2.GaussianBlur(noise(16, 112).reshape(-1, 112, 3), (5, 5), 0).reshape(
        16, 112, 112, 3
    )
    away = []
    for one in list(bank)[:60]:
        expected = frames.astype(np.float64)
        source = one.source_frame_K[0]
        x1, y1, x2, y2 = one.boxes_KT4[0, source]
        h, w = y2 - y1, x2 - x1
        dx = np.abs(np.arange(w) - (w - 1) // 2)[None] / w
        dy = np.abs(np.arange(h) - (h - 1) // 2)[:, None] / h
        distance = (np.maximum(dx, dy), np.hypot(dx, dy), dx + dy)[one.shape_K[0]]
        mask = np.where(one.shape_K[0] == 0, 1.0, distance < 0.5)
        if one.edge_K[0]:
            mask = mask * np.clip((0.5 - distance) / (0.5 - one.edge_K[0]), 0, 1)
        cut = np.ascontiguousarray(frames[source, y1:y2, x1:x2])
        for t in np.flatnonzero(one.visible_KT[0]):
            x1, y1, x2, y2 = (int(v) for v in one.boxes_KT4[0, t])
            alpha = cv2.resize(mask, (x2 - x1, y2 - y1))[..., None] * one.opacity_KT[0, t]
            pasted = cv2.resize(cut, (x2 - x1, y2 - y1))
            expected[t, y1:y2, x1:x2] *= 1 - alpha
            expected[t, y1:y2, x1:x2] += alpha * pasted
        away.append(np.abs(paste_patches(frames, one) - np.floor(expected)))
    assert np.max(away) <= 2
    assert np.mean(np.stack(away) > 1) < 1e-3
    assert np.mean(away) < 0.02


def test_smaller_patch_ends_on_top() -> None:
    frames = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    frames[0, :20, :20], frames[0, 40:44, 40:44] = 50, 250
    boxes = [[[40, 40, 44, 44], [10, 10, 14, 14]], [[0, 0, 20, 20], [0, 0, 20, 20]]]
    for order in ([0, 1], [1, 0]):
        out = paste_patches(frames, patches(np.asarray(boxes)[order]))
        assert (out[1, 10:14, 10:14] == 250).all()
        assert out[1, 5, 5, 0] == 50


def test_order_is_by_mean_width_times_mean_height() -> None:
    """Areas are 25 and 25, then 20 and 20; mean sides 11 x 11 against 5 x 5."""
    boxes = [[[0, 0, 5, 5], [0, 0, 5, 5]], [[0, 0, 20, 1], [0, 0, 2, 10]]]
    assert paste_order(np.asarray(boxes, np.int16)) == [1, 0]


def test_patches_are_cut_from_the_clean_clip() -> None:
    """The second patch is cut where the first one lands."""
    frames = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    frames[:, :20, :20] = 200
    boxes = [[[0, 0, 20, 20], [30, 30, 50, 50]], [[50, 50, 60, 60], [32, 32, 42, 42]]]
    out = paste_patches(frames, patches(boxes, source_frame_K=np.array([0, 1], np.int16)))
    assert (out[1, 32:42, 32:42] == 0).all()
    assert (out[1, 45:50, 45:50] == 200).all()


def test_mirrored_clip_and_boxes_give_the_mirrored_result() -> None:
    """Hard rectangles: a soft edge, like the reference's, is centred on a whole pixel."""
    boxes = np.array([[[5, 5, 26, 25], [10, 8, 30, 28]], [[20, 8, 44, 30], [21, 9, 50, 33]]])
    mirrored = boxes[..., [2, 1, 0, 3]] * [-1, 1, -1, 1] + [SIZE, 0, SIZE, 0]
    straight = paste_patches(noise(2), patches(boxes))
    turned = paste_patches(np.ascontiguousarray(noise(2)[:, :, ::-1]), patches(mirrored))
    assert np.abs(turned[:, :, ::-1].astype(int) - straight).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edge", [0.0, 0.3, 0.45])
def test_masks(shape: str, edge: float) -> None:
    mask = alpha_mask(shape, np.float32(edge), height=21, width=33)
    assert mask.shape == (21, 33)
    assert mask[10, 16] == 255
    np.testing.assert_array_equal(mask, mask[::-1, ::-1])  # odd sides: symmetric
    inside = mask > 0
    area = {"rectangle": 1, "ellipse": np.pi / 4, "rhombus": 0.5}[shape]
    assert inside.mean() == pytest.approx(area, abs=0.05 if edge == 0 else 0.15)
    assert set(np.unique(mask)) <= {0, 255} if edge == 0 else len(np.unique(mask)) > 3
    if edge:  # opaque up to the edge, nearly clear at the rim
        assert mask[10, round(16 - edge * 33) + 1] >= 250
        assert mask[10, 0] < 128


def test_mask_worked_numbers() -> None:
    """Width 5: distances .4 .2 0 .2 .4; with t = .3 the ramp is (.5 - d) / .2."""
    expected = [[round(255 * v) for v in (0.5, 1, 1, 1, 0.5)]]
    rectangle = alpha_mask("rectangle", 0.3, height=1, width=5)
    assert np.abs(rectangle.astype(int) - expected).max() <= 1
    # 4-wide ellipse of height 3: 3-4-5 triangles lie on the rim, which is outside.
    assert alpha_mask("ellipse", 0, height=10, width=10)[4 + 4, 4 + 3] == 0
    assert alpha_mask("ellipse", 0, height=10, width=10)[4 + 3, 4 + 3] == 255
    assert alpha_mask("rhombus", 0, height=10, width=10)[4 + 2, 4 + 3] == 0
    assert alpha_mask("rhombus", 0, height=10, width=10)[4 + 2, 4 + 2] == 255


def test_alpha_peaks_at_the_opacity(bank: Trajectories) -> None:
    """Property 4: alpha in [0, 1], its peak in [.8, 1]; read off black on white."""
    for one in [replace(p, visible_KT=np.ones_like(p.visible_KT)) for p in bank]:
        opacity = weigh(one) / 256
        assert ((opacity >= 0.798) & (opacity <= 1)).all()
        np.testing.assert_allclose(opacity, one.opacity_KT, atol=1 / 512)
    boxes = [[[5, 5, 26, 26], [30, 30, 51, 51]]]
    frames = np.full((2, SIZE, SIZE, 3), 255, np.uint8)
    frames[0, 5:26, 5:26] = 0
    for shape in range(3):
        one = patches(
            boxes,
            shape_K=np.array([shape], np.uint8),
            edge_K=np.array([0.4], np.float32),
            opacity_KT=np.array([[1, 0.9]], np.float32),
        )
        alpha = 1 - paste_patches(frames, one)[1] / 255
        assert alpha.max() == pytest.approx(0.9, abs=1 / 128)
