from __future__ import annotations

import numpy as np

from stages.track.background import mosaic

SIZE = (40, 60)
REST = np.tile(np.eye(3), (9, 1, 1))


def scenery(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 180, size, np.uint8)


def film() -> tuple[np.ndarray, np.ndarray]:
    """A bright square that hides part of the scene in each but two frames, and where."""
    images = np.repeat(scenery()[None], 9, axis=0)
    hidden = np.zeros_like(images)
    images[:7, 10:20, 10:20], hidden[:7, 10:20, 10:20] = 250, 1
    return images, hidden


def test_the_background_is_what_is_seen_when_nothing_hides_it() -> None:
    images, hidden = film()
    ground = mosaic(images, hidden, REST, SIZE, flicker=8)
    assert ground is not None
    np.testing.assert_array_equal(ground.middle_HW, scenery())
    out, known = ground.differs(images[0], np.eye(3))
    np.testing.assert_array_equal(out > 0, hidden[0] > 0)
    assert known.all()
    fooled = mosaic(images, np.zeros_like(hidden), REST, SIZE, flicker=8)
    assert fooled is not None
    assert (fooled.middle_HW[10:20, 10:20] == 250).all()


def test_what_is_never_seen_is_unknown_and_differs_from_nothing() -> None:
    images, hidden = film()
    hidden[:, 10:20, 10:20] = 1
    ground = mosaic(images, hidden, REST, SIZE, flicker=8)
    assert ground is not None
    out, known = ground.differs(images[0], np.eye(3))
    assert not known[10:20, 10:20].any()
    assert not out[10:20, 10:20].any()
    assert known[25:].all()


def test_a_brighter_exposure_is_no_difference() -> None:
    ground = mosaic(*film(), REST, SIZE, flicker=8)
    assert ground is not None
    out, _ = ground.differs(scenery() + np.uint8(20), np.eye(3))
    assert not out.any()


def test_the_tolerance_follows_the_noise() -> None:
    rng = np.random.default_rng(1)
    still = np.full(SIZE, 100, np.uint8)
    shares = []
    for sigma in (1, 10):
        noisy = np.clip(still + rng.normal(0, sigma, (9, *SIZE)), 0, 255).astype(np.uint8)
        ground = mosaic(noisy, np.zeros_like(noisy), REST, SIZE, flicker=8)
        assert ground is not None
        assert (ground.differs(noisy[4], np.eye(3))[0] > 0).mean() < 0.02
        shares.append((ground.differs(still + np.uint8(15), np.eye(3))[0] > 0).mean())
    # The first is a change of exposure; the noise hides nothing of it either way.
    assert shares[0] == 0


def test_frames_of_a_moving_camera_are_laid_together() -> None:
    wide = scenery(size=(40, 100))
    places = np.tile(np.eye(3), (9, 1, 1))
    places[:, 0, 2] = np.arange(9) * 5
    images = np.stack([wide[:, 5 * i : 5 * i + 60] for i in range(9)])
    ground = mosaic(images, np.zeros_like(images), places, (40, 100), flicker=8)
    assert ground is not None
    np.testing.assert_array_equal(ground.middle_HW[4:-4, 10:-10], wide[4:-4, 10:-10])
    out, known = ground.differs(images[8], np.linalg.inv(places[8]))
    assert not out[4:-4].any()
    assert known[20, 10]


def test_too_few_frames_make_no_background() -> None:
    assert (
        mosaic(
            np.zeros((3, *SIZE), np.uint8), np.zeros((3, *SIZE), np.uint8), REST, SIZE, flicker=8
        )
        is None
    )
