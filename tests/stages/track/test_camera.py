from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from benchmarks.scenes import SceneSpec, render
from stages.track.camera import (
    anchor,
    camera_between,
    explains,
    fit_camera,
    pieces,
    pixel_grid,
    texture,
    warp,
)
from stages.track.flow import flow_engine


def grid_points(height: int = 96, width: int = 128) -> np.ndarray:
    return pixel_grid(height, width)[2::4, 2::4].reshape(-1, 2)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.perspectiveTransform(points[None], matrix)[0]


def halves(spec: SceneSpec) -> np.ndarray:
    frames = render(spec).frames_THWC
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[::2, ::2] for frame in frames])


def step_between(here: np.ndarray, before: np.ndarray) -> np.ndarray:
    flow = flow_engine().calc(here, before, None)
    return camera_between(flow, pixel_grid(*here.shape), texture(here))


def test_a_perspective_is_found_in_spite_of_outliers() -> None:
    start = grid_points()
    true = np.array([[1.02, 0.01, -2], [-0.01, 0.99, 1.5], [3e-4, -2e-4, 1]])
    end = moved(start, true)
    end[: len(end) // 5] += (6, -4)  # a fifth moves on its own
    found = fit_camera(start, end)
    assert found is not None
    np.testing.assert_allclose(moved(start, found), moved(start, true), atol=0.05)


def test_noise_of_the_flow_is_not_fitted_by_a_perspective() -> None:
    rng = np.random.default_rng(0)
    start = grid_points()
    noise = rng.normal((1.5, 0), 0.1, start.shape).astype(np.float32)
    found = fit_camera(start, start + noise)
    assert found is not None
    assert found[2].tolist() == [0, 0, 1]
    np.testing.assert_allclose(found[:2, 2], (1.5, 0), atol=0.05)


@pytest.mark.parametrize("camera", ["pan", "zoom", "shake"])
def test_a_moving_camera_is_told_from_a_still_one(camera: str) -> None:
    answers = []
    for kind in ("none", camera):
        half = halves(SceneSpec(seed=8, camera=kind, num_frames=6))  # type: ignore[arg-type]
        steps = [step_between(here, before) for before, here in pairwise(half)]
        answers.append(
            [explains(step, half[t + 1], half[t]) for t, step in enumerate(steps)],
        )
    assert not any(answers[0])
    assert sum(answers[1]) >= 4


def test_a_rest_explains_nothing_better() -> None:
    half = halves(SceneSpec(seed=8, camera="pan", num_frames=2))
    assert not explains(np.eye(3), half[1], half[0])


def test_the_one_thing_before_a_plain_wall_is_no_background() -> None:
    rng = np.random.default_rng(0)
    thing = rng.integers(0, 255, (30, 30), np.uint8)
    half = np.full((2, 60, 80), 200, np.uint8)
    half[0, 10:40, 20:50], half[1, 10:40, 22:52] = thing, thing
    flow, grid = np.full((60, 80, 2), (-2, 0), np.float32), pixel_grid(60, 80)
    step = camera_between(flow, grid, texture(half[1]))
    np.testing.assert_allclose(step[:2, 2], (-2, 0), atol=1e-3)
    assert not explains(step, half[1], half[0])


def test_a_way_that_is_too_long_for_a_canvas_is_cut_into_pieces() -> None:
    step = np.eye(3)
    step[0, 2] = 10  # a frame of 100 pixels is left behind after 10 frames
    camera = np.tile(step, (64, 1, 1))
    found = list(pieces(range(64), camera, 80, 100))
    assert [t for frames, _, _ in found for t in frames] == list(range(64))
    assert len(found) == 4
    for frames, to_canvas, (height, width) in found:
        assert height * width <= 3 * 80 * 100
        corners = moved(np.array([[0, 0], [100, 80]], np.float32), to_canvas[len(frames) - 1])
        assert corners.min() >= 0
        assert (corners <= (width, height)).all()


def test_anchors_take_the_drift_out_of_a_chain() -> None:
    half = halves(SceneSpec(seed=5, camera="shake", num_frames=40, objects=1))
    drift = np.tile(np.eye(3), (40, 1, 1))
    drift[:, 0, 2] = np.linspace(-2, 2, 40)  # pixels that a chain is off by at its ends
    drift[20] = np.eye(3)

    def spread(places: np.ndarray) -> float:
        stack = [warp(half[t], places[t], half[0].shape).astype(float) for t in range(0, 40, 5)]
        return float(np.std(stack, axis=0)[10:-10, 10:-10].mean())

    engine = flow_engine()
    true = [np.eye(3)]
    for t in range(1, 40):
        true.append(true[-1] @ step_between(half[t], half[t - 1]))
    chain = np.linalg.inv(true[20]) @ np.stack(true)
    assert spread(drift @ chain) > 1.15 * spread(chain)
    assert spread(anchor(half, drift @ chain, engine.calc)) < 1.02 * spread(chain)


def test_a_camera_at_rest_needs_no_anchors() -> None:
    rest = np.tile(np.eye(3), (5, 1, 1))
    blank = np.zeros((5, 20, 20), np.uint8)
    assert anchor(blank, rest, None) is rest
