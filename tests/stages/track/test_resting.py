from __future__ import annotations

import numpy as np

from stages.track.resting import resting

THING = np.s_[10:22, 20:32]


def film(moves: range, count: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A thing that moves (by little) in some frames: where it moves, what changes, the camera."""
    moving = np.zeros((count, 40, 60), np.uint8)
    moving[moves.start : moves.stop, 10:22, 20:32] = 1
    return moving, moving.copy(), np.tile(np.eye(3), (count, 1, 1))


def test_a_thing_that_stops_is_held() -> None:
    held = resting(*film(range(1, 8)), min_area=0.004)
    assert held[8:][(slice(None), *THING)].all()
    assert held[8:].sum() == 12 * 12 * 12


def test_a_thing_that_stood_there_is_held_before_it_moves() -> None:
    held = resting(*film(range(10, 20)), min_area=0.004)
    assert held[:9][(slice(None), *THING)].all()


def test_a_moment_of_motion_is_not_enough() -> None:
    assert not resting(*film(range(8, 10)), min_area=0.004).any()
    assert not resting(*film(range(1, 8)), min_area=0.2)[8:].any()


def test_what_changes_has_left() -> None:
    moving, changed, camera = film(range(1, 8))
    changed[12][THING] = 1
    held = resting(moving, changed, camera, min_area=0.004)
    assert held[11][THING].all()
    assert not held[12:].any()


def test_a_thing_is_held_where_the_camera_shows_it() -> None:
    moving, changed, camera = film(range(1, 8))
    camera[8:, 0, 2] = 2  # what is at x was at x + 2 in the frame before
    held = resting(moving, changed, camera, min_area=0.004)
    assert held[12, 10:22, 10:22].all()
    assert not held[12, :, 23:].any()
