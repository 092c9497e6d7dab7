from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.scenes import Scene, SceneSpec, render
from stages.track.camera import explains
from stages.track.flow import Motion, measure_motion, residual_motion, rest, steady

SIZE = {"height": 120, "width": 160}


def grey(scene: Scene) -> np.ndarray:
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in scene.frames_THWC])


def motion_of(**options: object) -> tuple[Motion, Scene]:
    scene = render(SceneSpec(**{"seed": 2, "num_frames": 6, **SIZE, **options}))  # type: ignore[arg-type]
    return measure_motion(grey(scene), min_match=0.5), scene


@pytest.mark.parametrize("camera", ["none", "pan", "zoom", "shake"])
def test_what_is_left_without_the_camera_is_the_object(camera: str) -> None:
    motion, scene = motion_of(camera=camera)
    mask = cv2.erode(scene.masks_KTHW[0, 4].astype(np.uint8), np.ones((5, 5)))[::2, ::2] > 0
    around = cv2.dilate(scene.masks_KTHW[0, 4].astype(np.uint8), np.ones((25, 25)))[::2, ::2] == 0
    assert np.median(motion.residual_Thw[4][mask]) > 0.3
    assert np.median(motion.residual_Thw[4][around]) < 0.1
    moves = (motion.camera_T33[1:] != np.eye(3)).any(axis=(1, 2))
    assert moves.all() if camera != "none" else not moves.any()


def test_the_result_depends_on_neither_generators_nor_threads() -> None:
    threads = cv2.getNumThreads()
    results = []
    try:
        for count, seed in ((1, 1), (2, 5), (4, 77)):
            cv2.setNumThreads(count)
            cv2.setRNGSeed(seed)
            motion, _ = motion_of(camera="shake")
            results.append([motion.backward_Thw2, motion.residual_Thw, motion.camera_T33])
    finally:
        cv2.setNumThreads(threads)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cut_starts_a_shot_and_nothing_is_carried_over_it(seed: int) -> None:
    motion, _ = motion_of(cut=True, seed=seed)
    assert motion.cut_T.tolist() == [True, False, False, True, False, False]
    assert motion.shots() == [range(3), range(3, 6)]
    assert not motion.backward_Thw2[3].any()
    assert not motion.residual_Thw[3].any()


@pytest.mark.parametrize(
    "options", [{"camera": "shake"}, {"camera": "pan"}, {"brightness": 0.3, "noise": 10.0}], ids=str
)
def test_motion_and_noise_are_no_cuts(options: dict[str, object]) -> None:
    assert motion_of(**options, num_frames=12)[0].cut_T.sum() == 1


def test_a_flash_is_no_cut() -> None:
    frames = grey(render(SceneSpec(seed=2, num_frames=3, **SIZE)))  # type: ignore[arg-type]
    frames[1:] = np.clip(frames[1:] * 0.7 + 70, 0, 255)
    assert measure_motion(frames, min_match=0.5).cut_T.tolist() == [True, False, False]


def test_a_plain_wall_with_noise_is_one_shot() -> None:
    rng = np.random.default_rng(0)
    frames = (110 + rng.normal(0, 3, (6, 60, 80))).astype(np.uint8)
    assert measure_motion(frames, min_match=0.5).cut_T.sum() == 1


def test_a_camera_that_moves_once_in_a_while_rests() -> None:
    camera = np.tile(np.eye(3), (40, 1, 1))
    camera[[3, 30, 31, 32, 33, 34, 35], 0, 2] = 1
    cut = np.zeros(40, np.bool_)
    cut[[0, 20]] = True
    steady(camera, cut)
    assert (camera[:20] == np.eye(3)).all()
    assert camera[30, 0, 2] == 1


def test_a_pan_too_slow_for_two_frames_is_told_over_some() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).random((80, 200)), (0, 0), 3)
    image = np.interp(image, (image.min(), image.max()), (60, 150)).astype(np.float32)
    step = np.eye(3)
    step[0, 2] = 0.1
    frames = [
        cv2.warpAffine(image, np.float32([[1, 0, -50 - 0.1 * t], [0, 1, 0]]), (100, 80))
        for t in range(9)
    ]
    half = np.stack(frames).round().astype(np.uint8)
    cut = np.arange(9) == 0
    camera = np.tile(step, (9, 1, 1))
    assert not explains(step, half[1], half[0])
    rest(camera, cut, half)
    assert (camera[1:] == step).all()
    still = np.tile(step, (9, 1, 1))  # the same claim about a picture that rests
    rest(still, cut, np.repeat(half[:1], 9, axis=0))
    assert (still == np.eye(3)).all()


def test_what_the_camera_has_just_brought_into_view_has_no_motion() -> None:
    camera = np.eye(3)
    camera[0, 2] = -10  # the left part of this frame was outside the one before
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(30)), axis=-1).astype(np.float32)
    residual = residual_motion(np.zeros((30, 40, 2), np.float32), camera, grid)
    assert not residual[:, :11].any()
    np.testing.assert_allclose(residual[3:-3, 13:-3], 10, atol=1e-4)
