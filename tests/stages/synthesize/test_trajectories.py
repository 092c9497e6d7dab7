"""Trajectories: properties and measured figures of ctp.md sections 3 and 10 (1, 2, 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.synthesize.keyframes import sample_key_frames
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.trajectories import (
    Law,
    Motion,
    sample_bank,
    sample_first_boxes,
    sample_motion,
    sample_opacity,
    to_integer_boxes,
)

CLIPS = 5000
REFERENCE = Law(
    num_patches=3,
    num_frames=16,
    size=112,
    inner_probabilities=(0.5, 0.3, 0.2),
    interpolation="random",
    location_velocity=3.0,
    size_velocity=0.025,
    visible_probability=0.8,
)


def law(**changes: Any) -> Law:
    return Law(**{**vars(REFERENCE), **changes})


def motion(count: int = CLIPS, **changes: Any) -> Motion:
    return sample_motion(np.random.default_rng(0), law(**changes), count)


def test_first_boxes_lie_inside_with_the_sides_of_the_anchors() -> None:
    sides, centres = sample_first_boxes(np.random.default_rng(0), REFERENCE, CLIPS)
    assert (centres - sides / 2 >= -1e-9).all()
    assert (centres + sides / 2 <= 112 + 1e-9).all()
    assert 9.45 <= sides.min() < 9.8
    assert 107 < sides.max() <= 108.4
    aspect = sides[..., 0] / sides[..., 1]
    assert 0.349 <= aspect.min() < 0.37
    assert 2.75 < aspect.max() <= 2.87
    assert sides[..., 0].mean() == pytest.approx(36.65, abs=0.5)


def test_first_boxes_follow_the_anchors() -> None:
    """Each of the 42 anchors is drawn equally often; area and aspect without the jitter."""
    sides, _ = sample_first_boxes(np.random.default_rng(0), REFERENCE, CLIPS)
    side = np.sqrt(sides.prod(-1)).ravel()
    anchors = np.array([16, 24, 28, 32, 48, 64])
    middle = np.sqrt(anchors[1:] * anchors[:-1])
    # 24, 28 and 32 overlap by their jitter; the others stand apart.
    shares = np.histogram(side, [0, middle[0], middle[3], middle[4], 200])[0] / side.size
    np.testing.assert_allclose(shares, [1 / 6, 3 / 6, 1 / 6, 1 / 6], atol=0.015)
    logs = np.log(sides[..., 0] / sides[..., 1]).ravel()
    assert logs.mean() == pytest.approx(np.log([0.5, 0.67, 0.75, 1, 1.33, 1.5, 2]).mean(), abs=0.02)


@pytest.mark.parametrize("preset", ["reference", "paper"])
def test_key_frames_bound_every_segment(preset: str) -> None:
    """Property 1, at the key frames that were really drawn."""
    paths = sample_motion(np.random.default_rng(0), Synthesize(preset=preset).law(), CLIPS)
    row = np.arange(CLIPS)[:, None]
    for values, keys, speed in (
        (paths.centres_NKT2, paths.centre_keys_NM, 3.0),
        (np.log(paths.sides_NKT2), paths.side_keys_NM, 0.025),
    ):
        at_keys = values.swapaxes(1, 2)[row, keys]  # N, M, K, 2
        change = np.abs(np.diff(at_keys, axis=1))
        gaps = np.diff(keys, axis=1)[..., None, None]
        assert (change <= speed * gaps + 1e-9).all()
        used = np.broadcast_to(gaps > 0, change.shape)
        share = (change / (speed * np.maximum(gaps, 1)))[used]
        assert share.max() > 0.99
        if speed < 1:  # no border cuts sizes short: uniform
            assert share.mean() == pytest.approx(0.5, abs=0.005)
    assert (paths.centre_keys_NM != paths.side_keys_NM).any(axis=1).mean() > 0.5


def test_counts_of_key_frames() -> None:
    """Property 3, for positions and sizes of both presets."""
    for preset, shares in (
        ("reference", (0, 0, 0.5, 0.3, 0.2)),
        ("paper", (0, 0, 0, *[1 / 3] * 3)),
    ):
        paths = sample_motion(np.random.default_rng(0), Synthesize(preset=preset).law(), CLIPS)
        for keys in (paths.centre_keys_NM, paths.side_keys_NM):
            assert (keys[:, [0, -1]] == [0, 15]).all()
            counts = 1 + (np.diff(keys) > 0).sum(axis=1)
            found = np.bincount(counts, minlength=len(shares)) / CLIPS
            np.testing.assert_allclose(found, shares, atol=0.025)


@pytest.mark.parametrize(("interpolation", "bound"), [("linear", 3.0), ("random", 5.8)])
def test_steps_of_centres(interpolation: str, bound: float) -> None:
    centres = motion(interpolation=interpolation).centres_NKT2
    largest = np.abs(np.diff(centres, axis=2)).max()
    assert 0.95 * bound < largest <= bound + 1e-9


def test_centres_stay_where_the_first_box_fits() -> None:
    paths = motion()
    first = paths.sides_NKT2[:, :, :1]
    assert (paths.centres_NKT2 >= first / 2 - 1e-9).all()
    assert (paths.centres_NKT2 <= 112 - first / 2 + 1e-9).all()


def test_net_displacement_is_that_of_the_reference() -> None:
    centres = motion().centres_NKT2
    net = np.abs(centres[:, :, -1] - centres[:, :, 0])
    assert net.mean() == pytest.approx(14.6, abs=0.3)
    assert 42 < net.max() <= 45


def test_key_frames_bound_positions_and_sizes() -> None:
    """With one inner key frame that cannot jitter, the gaps of all clips are known."""
    paths = motion(num_frames=3, inner_probabilities=(0.0, 1.0))  # key frames 0, 1, 2
    assert np.abs(np.diff(paths.centres_NKT2, axis=2)).max() <= 3
    logs = np.log(paths.sides_NKT2)
    assert 0.024 < np.abs(np.diff(logs, axis=2)).max() <= 0.025 + 1e-9
    paths = motion(inner_probabilities=(1.0,))  # key frames 0 and 15
    assert 44 < np.abs(paths.centres_NKT2[:, :, -1] - paths.centres_NKT2[:, :, 0]).max() <= 45
    ratio = paths.sides_NKT2[:, :, -1] / paths.sides_NKT2[:, :, 0]
    assert np.exp(0.36) < ratio.max() <= np.exp(0.375) + 1e-9
    assert np.exp(-0.375) - 1e-9 <= ratio.min() < np.exp(-0.36)


def test_patches_share_the_clock_but_not_the_direction() -> None:
    paths = motion(inner_probabilities=(1.0,), location_velocity=0.5)
    done = paths.centres_NKT2 - paths.centres_NKT2[:, :, :1]
    total = done[:, :, -1:]
    free = (np.abs(total) > 1).all(axis=(1, 2, 3))  # too far from the border to be held back
    share = (done / np.where(np.abs(total) > 1, total, 1))[free]
    np.testing.assert_allclose(share, np.broadcast_to(share[:, :1, :, :1], share.shape), atol=1e-9)
    x = np.sign(total[..., 0, 0])
    assert np.mean(x[:, 0] == x[:, 1]) == pytest.approx(0.5, abs=0.04)


def test_width_and_height_change_on_their_own() -> None:
    sides = np.log(motion(inner_probabilities=(1.0,)).sides_NKT2)
    change = (sides[:, :, -1] - sides[:, :, 0]).reshape(-1, 2)
    assert abs(np.corrcoef(change.T)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("centre", "side", "expected"),
    [
        ((50, 42), (20, 24), (40, 30, 60, 54)),
        ((10.5, 11.5), (20, 20), (0, 2, 20, 22)),  # .5 goes to the even neighbour
        ((5, 110), (20, 20), (0, 100, 15, 112)),  # clipped
        ((0, 112), (0.2, 0.2), (0, 111, 1, 112)),  # never empty
    ],
)
def test_integer_boxes(centre: Any, side: Any, expected: Any) -> None:
    boxes = to_integer_boxes(np.array(centre, float), np.array(side, float), 112)
    assert boxes.dtype == np.int16
    assert tuple(boxes) == expected


@pytest.mark.parametrize("size", [32, 64, 112, 224])
def test_boxes_of_a_bank(size: int) -> None:
    scaled = law(size=size, location_velocity=3.0 * size / 112)
    bank = sample_bank(np.random.default_rng(0), scaled, CLIPS)
    x1, y1, x2, y2 = np.moveaxis(bank.boxes_NKT4.astype(int), -1, 0)
    assert ((x1 >= 0) & (x1 < x2) & (x2 <= size)).all()
    assert ((y1 >= 0) & (y1 < y2) & (y2 <= size)).all()
    # 36.65 of 112 in the first frame; rounding and clipping change little.
    assert (x2 - x1).mean() / size == pytest.approx(0.326, abs=0.02)
    if size == 112:
        assert min((x2 - x1).min(), (y2 - y1).min()) >= 6
        assert max((x2 - x1).max(), (y2 - y1).max()) == 112


def test_visibility() -> None:
    bank = sample_bank(np.random.default_rng(0), REFERENCE, CLIPS)
    n, k = np.indices(bank.source_frame_NK.shape)
    assert bank.visible_NKT[..., 0].all()
    assert bank.visible_NKT[n, k, bank.source_frame_NK].all()
    assert bank.visible_NKT.mean() == pytest.approx(0.8242, abs=0.004)
    counts = np.bincount(bank.source_frame_NK.ravel(), minlength=16)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 16, atol=0.006)


@pytest.mark.parametrize(("probability", "rate"), [(0.0, (2 - 1 / 16) / 16), (1.0, 1.0)])
def test_visibility_is_forced_only_where_it_must_be(probability: float, rate: float) -> None:
    certain = law(visible_probability=probability)
    bank = sample_bank(np.random.default_rng(0), certain, CLIPS)
    assert bank.visible_NKT.mean() == pytest.approx(rate, abs=0.001)


def test_opacity_runs_linearly_between_its_own_key_frames() -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    opacity = sample_opacity(rng, REFERENCE, 500).reshape(-1, 16)
    keys = sample_key_frames(again, count=1500, num_frames=16, inner_probabilities=(0.5, 0.3, 0.2))
    assert opacity.min() >= np.float32(0.8)
    assert opacity.max() <= 1
    for row, at in zip(opacity, keys, strict=True):
        np.testing.assert_allclose(np.interp(np.arange(16), at, row[at]), row, atol=1e-6)
    clocks = keys.reshape(500, 3, -1)
    assert (clocks[:, 0] != clocks[:, 1]).any(axis=1).mean() > 0.5  # one for each patch


@pytest.mark.parametrize("num_frames", [2, 3])
def test_clips_of_few_frames(num_frames: int) -> None:
    bank = sample_bank(np.random.default_rng(0), law(num_frames=num_frames), 500)
    assert bank.boxes_NKT4.shape == (500, 3, num_frames, 4)
    assert np.isfinite(bank.opacity_NKT).all()


def test_shapes_and_edges() -> None:
    bank = sample_bank(np.random.default_rng(0), REFERENCE, CLIPS)
    shares = np.bincount(bank.shape_NK.ravel(), minlength=3) / bank.shape_NK.size
    np.testing.assert_allclose(shares, [0.5, 0.35, 0.15], atol=0.015)
    soft = bank.edge_NK > 0
    assert soft.mean() == pytest.approx(0.5, abs=0.015)
    assert bank.edge_NK[soft].min() >= np.float32(0.30)
    assert bank.edge_NK[soft].max() <= np.float32(0.45)
    assert bank.edge_NK[soft].mean() == pytest.approx(0.375, abs=0.002)
