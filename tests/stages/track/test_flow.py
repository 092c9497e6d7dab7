from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from stages.track.flow import camera_flow, measure_motion, own_motion, pixel_grid, textured, warp


def grey(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


@pytest.mark.parametrize("pan", [(0, 0), (1.5, 0.5), (-3, 2)])
def test_camera_flow_is_the_pan(scene: Callable[..., Any], pan: tuple[float, float]) -> None:
    frames, masks = scene(num_frames=3, pan=pan)
    motion = measure_motion(grey(frames), min_match=0.5)
    camera = camera_flow(motion.forward_THW2[1])
    np.testing.assert_allclose(camera.mean((0, 1)), np.negative(pan), atol=0.1)
    assert np.median(motion.residual_THW[1][~masks[1]]) < 0.1
    own = np.hypot(2.5 + pan[0], 0.8 + pan[1])  # of the disc against the background
    assert np.median(motion.residual_THW[1][masks[1]]) == pytest.approx(own, rel=0.15)
    assert np.median(motion.proof_THW[1][masks[1]]) > 5
    assert np.median(motion.proof_THW[1][~masks[1]]) < 1


def test_camera_flow_follows_a_perspective_in_spite_of_outliers() -> None:
    grid = pixel_grid(96, 128)
    true = np.array([[1.02, 0.01, -2], [-0.01, 0.99, 1.5], [1e-4, -5e-5, 1]])
    flow = cv2.perspectiveTransform(grid, true).astype(np.float32) - grid
    seen = flow.copy()
    seen[20:70, 30:80] += (6, -4)  # a fifth of the frame moves on its own
    np.testing.assert_allclose(camera_flow(seen), flow, atol=0.05)


def test_camera_flow_of_no_motion_is_none() -> None:
    assert np.abs(camera_flow(np.zeros((64, 64, 2), np.float32))).max() < 1e-3


def test_camera_flow_ignores_the_state_of_generators_and_the_number_of_threads(
    scene: Callable[..., Any],
) -> None:
    frames, _ = scene(num_frames=3, pan=(2, 0.5))
    threads = cv2.getNumThreads()
    results = []
    try:
        for count, seed in ((1, 1), (2, 5), (4, 77)):
            cv2.setNumThreads(count)
            cv2.setRNGSeed(seed)
            motion = measure_motion(grey(frames), min_match=0.5)
            results.append([motion.forward_THW2, motion.residual_THW, motion.proof_THW])
    finally:
        cv2.setNumThreads(threads)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_a_cut_starts_a_scene_and_nothing_is_carried_over_it(scene: Callable[..., Any]) -> None:
    frames = np.concatenate([scene(num_frames=3)[0], 255 - scene(seed=9, num_frames=3)[0]])
    motion = measure_motion(grey(frames), min_match=0.5)
    assert motion.cut_T.tolist() == [True, False, False, True, False, False]
    assert not motion.forward_THW2[2].any()
    assert not motion.backward_THW2[3].any()
    assert np.isfinite(motion.residual_THW).all()


def test_a_scene_of_one_frame_has_no_motion(scene: Callable[..., Any]) -> None:
    one, other = scene(num_frames=2)[0], 255 - scene(seed=9, num_frames=1)[0]
    motion = measure_motion(grey(np.concatenate([one, other, one])), min_match=0.5)
    assert motion.cut_T.tolist() == [True, False, True, True, False]
    assert not motion.residual_THW[2].any()
    assert not motion.proof_THW[2].any()


def test_the_ground_beside_an_object_is_cleared_by_the_other_direction(
    scene: Callable[..., Any],
) -> None:
    frames, masks = scene(num_frames=3, velocity=(5, 0))
    here, after = grey(frames)[1:]
    motion = measure_motion(grey(frames), min_match=0.5)
    one_way, _ = own_motion(here, after, motion.forward_THW2[1])
    beside = ~masks[1]
    assert (motion.residual_THW[1] > 1)[beside].sum() < 0.5 * (one_way > 1)[beside].sum()


def test_warp_reads_along_the_flow() -> None:
    image = np.zeros((20, 30), np.float32)
    image[5, 8] = 1
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0] = 3
    assert np.argwhere(warp(image, flow)).tolist() == [[5, 5]]
    assert not warp(np.ones((20, 30), np.float32), flow)[:, -3:].any()


def test_a_plain_wall_has_no_texture_and_its_noise_is_none(scene: Callable[..., Any]) -> None:
    frames, masks = scene(num_frames=2, plain=True)
    shown = textured(grey(frames)[0])
    assert shown[masks[0]].all()
    assert shown[:15].mean() < 0.01
    assert textured(grey(scene(num_frames=2)[0])[0]).mean() > 0.95


def test_a_thing_before_a_plain_wall_does_not_move_the_wall(scene: Callable[..., Any]) -> None:
    frames, masks = scene(num_frames=3, plain=True)
    motion = measure_motion(grey(frames), min_match=0.5)
    residual = np.median(motion.residual_THW[1][masks[1]])
    assert residual == pytest.approx(np.hypot(2.5, 0.8), rel=0.1)


def test_a_flash_is_no_cut(scene: Callable[..., Any]) -> None:
    frames, _ = scene(num_frames=3)
    frames[1:] = np.clip(frames[1:] * 0.7 + 70, 0, 255)
    assert measure_motion(grey(frames), min_match=0.5).cut_T.tolist() == [True, False, False]
