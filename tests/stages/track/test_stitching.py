from __future__ import annotations

import numpy as np

from stages.track.flow import Motion
from stages.track.stitching import stitch
from stages.track.tube import Patch, Tube

HEIGHT, WIDTH = 60, 160


def film(
    paths: list[dict[int, int]], *, shades: tuple[int, ...] = (200, 200), pan: int = 0
) -> tuple[list[Tube], list[np.ndarray], Motion]:
    """Tubes of squares by frame and left edge, each of a shade, before a pan."""
    count = 40
    grey = np.full((count, HEIGHT, WIDTH), 90, np.uint8)
    tubes = []
    for path, shade in zip(paths, shades, strict=True):
        tube = Tube()
        for t, x in path.items():
            tube.see(t, Patch(x, 20, np.ones((16, 16), np.bool_)), 1.0, 1.0)
            grey[t, 20:36, x : x + 16] = shade
        tubes.append(tube)
    camera = np.tile(np.eye(3), (count, 1, 1))
    camera[1:, 0, 2] = pan
    half = np.zeros((count, HEIGHT // 2, WIDTH // 2), np.uint8)
    flow = np.zeros((*half.shape, 2), np.float32)
    motion = Motion(flow, half.astype(np.float32), half, half, camera, np.arange(count) == 0)
    return tubes, [grey], motion


BEFORE = {t: 4 + 3 * t for t in range(10)}
AFTER = {t: 4 + 3 * t for t in range(22, 36)}


def test_an_object_that_was_hidden_keeps_its_identity() -> None:
    (tube,) = stitch(*film([BEFORE, AFTER]), max_hidden=20)
    assert sorted(tube.patches) == [*BEFORE, *AFTER]
    assert sorted(tube.scores) == sorted(tube.strengths) == sorted(tube.patches)


def test_it_is_expected_where_the_ground_has_gone() -> None:
    turned = {t: x - 3 * t for t, x in AFTER.items()}
    assert len(stitch(*film([{t: 4 for t in BEFORE}, turned]), max_hidden=20)) == 1
    far = {t: 140 for t in AFTER}
    assert len(stitch(*film([{t: 4 for t in BEFORE}, far]), max_hidden=20)) == 2
    panned = {t: 100 - 3 * t for t in (*BEFORE, *AFTER)}  # it rests, the camera pans past it
    halves = [{t: panned[t] for t in part if panned[t] > 0} for part in (BEFORE, AFTER)]
    assert len(stitch(*film(halves, pan=3), max_hidden=20)) == 1


def test_what_looks_different_or_comes_too_late_is_another_object() -> None:
    assert len(stitch(*film([BEFORE, AFTER], shades=(200, 20)), max_hidden=20)) == 2
    assert len(stitch(*film([BEFORE, AFTER]), max_hidden=10)) == 2


def test_nothing_is_joined_over_a_cut() -> None:
    tubes, planes, motion = film([BEFORE, AFTER])
    motion.cut_T[15] = True
    assert len(stitch(tubes, planes, motion, max_hidden=20)) == 2


def test_of_two_the_likelier_is_taken() -> None:
    other = {t: x - 12 for t, x in AFTER.items()}
    tubes, planes, motion = film([BEFORE, other, AFTER], shades=(200, 200, 200))
    first, second = stitch(tubes, planes, motion, max_hidden=20)
    assert first.patches[30].left == AFTER[30]
    assert sorted(second.patches) == sorted(other)
