from __future__ import annotations

import cv2
import numpy as np

from stages.track.passing import passing

HEIGHT, WIDTH, COUNT = 60, 80, 40


def scene(speed: float, pan: float = 0.0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Planes, maps onto the canvas, and truth: a faint plain disc before a smooth ground."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.random((2 * HEIGHT, 4 * WIDTH)), (0, 0), 6)
    ground = np.interp(ground, (ground.min(), ground.max()), (60, 120)).astype(np.float32)
    ys, xs = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH]
    grey, truth, places = [], [], np.tile(np.eye(3), (COUNT, 1, 1))
    for t in range(COUNT):
        places[t, 0, 2] = pan * t / 2
        shift = np.array([[1, 0, -40 - pan * t], [0, 1, 0]], np.float32)
        image = cv2.warpAffine(ground, shift, (2 * WIDTH, 2 * HEIGHT))
        disc = np.hypot(xs - 30 - speed * t, ys - 60) < 14
        image[disc] += 12
        grey.append(image + rng.normal(0, 1, image.shape))
        truth.append(disc[::2, ::2])
    colour = np.full((COUNT, HEIGHT, WIDTH), 128, np.uint8)
    return [np.stack(grey).round().astype(np.uint8), colour, colour], places, np.stack(truth)


def test_a_slow_thing_is_found_and_not_the_place_it_left() -> None:
    planes, places, truth = scene(speed=2.0)
    found = passing(planes, places)[15:-15] > 0
    assert found[truth[15:-15]].mean() > 0.6
    assert found[~truth[15:-15]].mean() < 0.02


def test_a_camera_that_moves_is_undone() -> None:
    planes, places, truth = scene(speed=3.0, pan=-1.0)
    found = passing(planes, places)[15:-15] > 0
    assert found[truth[15:-15]].mean() > 0.6
    assert found[~truth[15:-15]].mean() < 0.02


def test_where_nothing_moves_nothing_passes() -> None:
    planes, places, _ = scene(speed=0.0)
    assert passing(planes, places).mean() < 0.002
    planes = [plane[:2] for plane in planes]
    assert not passing(planes, places[:2]).any()
