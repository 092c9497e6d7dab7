from __future__ import annotations

import numpy as np
import pytest

from stages.track.flow import Motion
from stages.track.foreground import find_regions, moving_pixels

HALF = (60, 80)
SQUARE = np.s_[20:40, 30:50]


def motion(
    residual: np.ndarray, *, change: float = 20, texture: float = 10, inside: bool = True
) -> Motion:
    """Motion of one frame that changes with its residual, before a textured rest."""
    changes = np.where(residual > 0.5, change, 0).astype(np.uint8)
    grain = np.full(residual.shape, texture, np.uint8)
    flow = np.zeros((1, *residual.shape, 2), np.float32)
    one = np.ones(1, np.bool_)
    return Motion(flow, residual[None], changes[None], grain[None], np.eye(3)[None], one)


def field(inside: float, outside: float = 0) -> np.ndarray:
    out = np.full(HALF, outside, np.float32)
    out[SQUARE] = inside
    return out


def found(residual: np.ndarray, **more: float) -> tuple[np.ndarray, np.ndarray]:
    flows, moves, changes = moving_pixels(
        motion(residual, **more),  # type: ignore[arg-type]
        0,
        min_motion=0.12,
        noise_factor=4.0,
    )
    assert set(np.unique(changes)) <= {0, 1}
    return flows, moves


def test_what_moves_unlike_the_camera_surely_moves() -> None:
    flows, moves = found(field(2))
    np.testing.assert_array_equal(flows, field(1))
    np.testing.assert_array_equal(moves, field(1))
    assert not found(field(0.1))[0].any()


def test_the_noise_of_the_flow_is_no_motion() -> None:
    rng = np.random.default_rng(0)
    residual = field(2) + np.abs(rng.normal(0, 0.15, HALF)).astype(np.float32)
    flows, _ = found(residual)
    assert flows[SQUARE].all()
    assert flows[:10].mean() < 0.02


def test_a_plain_wall_that_is_dragged_along_does_not_surely_move() -> None:
    flows, moves = found(field(2, outside=1.5), change=0, texture=0)
    assert flows.all()
    assert not moves.any()


def test_the_halo_of_a_fast_object_does_not_move() -> None:
    residual = field(4, outside=0.5)
    flows, _ = found(residual)
    assert flows[SQUARE].all()
    assert not flows[18:42, 28:30].any()


def film(
    count: int = 24, *, since: int = 0, until: int = 24
) -> tuple[np.ndarray, Motion, np.ndarray]:
    """A square that moves to the right over noise for some frames, and its exact motion."""
    rng = np.random.default_rng(0)
    ground, skin = (
        np.kron(
            rng.integers(40, 200, (height // 4, width // 4), np.uint8), np.ones((4, 4), np.uint8)
        )
        for height, width in ((60, 100), (16, 16))
    )
    images, masks = np.repeat(ground[None], count, axis=0), np.zeros((count, 60, 100), np.bool_)
    residual = np.zeros((count, 30, 50), np.float32)
    change = np.zeros(residual.shape, np.uint8)
    for t in range(count):
        x = 4 + 3 * (min(max(t, since), until) - since)
        images[t, 20:36, x : x + 16], masks[t, 20:36, x : x + 16] = skin, True
        if since < t <= until:
            residual[t, 10:18, x // 2 : x // 2 + 8] = 3
            change[t, 10:18, max(0, x // 2 - 2) : x // 2 + 8] = 30
    flow = np.zeros((*residual.shape, 2), np.float32)
    grain = np.full_like(change, 20)
    camera = np.tile(np.eye(3), (count, 1, 1))
    return images, Motion(flow, residual, change, grain, camera, np.arange(count) == 0), masks


def overlap(labels: np.ndarray, mask: np.ndarray) -> float:
    return float(((labels > 0) & mask).sum() / ((labels > 0) | mask).sum())


def test_an_object_is_one_region_with_the_evidence_of_its_motion() -> None:
    images, flow, masks = film()
    regions = find_regions([images], flow, min_motion=0.12, noise_factor=4, min_area=0.004)
    for t in range(2, 24):
        assert len(regions.strength[t]) == 2
        assert regions.strength[t][1] > 0.6
        assert overlap(regions.labels_THW[t], masks[t]) > 0.7


@pytest.mark.parametrize(
    ("options", "rests"), [({"until": 8}, range(10, 24)), ({"since": 15}, range(13))]
)
def test_an_object_that_rests_for_most_of_the_time_is_told_from_the_scene(
    options: dict[str, int], rests: range
) -> None:
    images, flow, masks = film(**options)
    regions = find_regions([images], flow, min_motion=0.12, noise_factor=4, min_area=0.004)
    for t in rests:
        assert overlap(regions.labels_THW[t], masks[t]) > 0.6
        assert regions.strength[t][1] == 0
    moves = (options.get("until") or 23) - 1
    assert overlap(regions.labels_THW[moves], masks[moves]) > 0.7
