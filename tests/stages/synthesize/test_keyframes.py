"""Key frames and interpolators: worked numbers of ctp.md sections 3.1 and 3.2."""

from __future__ import annotations

import numpy as np
import pytest

from stages.synthesize.keyframes import (
    ACCELERATE,
    DECELERATE,
    UNIFORM,
    ease,
    interpolate,
    sample_key_frames,
    sample_places,
)


def keys_of(inner_probabilities: tuple[float, ...], *, count: int = 2000, num_frames: int = 16):  # type: ignore[no-untyped-def]
    return sample_key_frames(
        np.random.default_rng(0),
        count=count,
        num_frames=num_frames,
        inner_probabilities=inner_probabilities,
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (UNIFORM, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]),
        (ACCELERATE, [0, 0.05, 0.2, 0.45, 0.8, 1.25, 1.8, 2.45, 3.2, 4.05, 5]),
        (DECELERATE, [0, 0.95, 1.8, 2.55, 3.2, 3.75, 4.2, 4.55, 4.8, 4.95, 5]),
    ],
)
def test_ease_worked_numbers(mode: int, expected: list[float]) -> None:
    np.testing.assert_allclose(5 * ease(np.arange(11) / 10, mode), expected, atol=1e-12)


def test_no_inner_key_frame() -> None:
    assert (keys_of((1.0,)) == [0, 15]).all()


def test_one_inner_key_frame_of_16() -> None:
    values, counts = np.unique(keys_of((0, 1))[:, 1], return_counts=True)
    assert values.tolist() == [6, 7, 8, 9]
    np.testing.assert_allclose(counts / 2000, 0.25, atol=0.04)


def test_two_inner_key_frames_of_16() -> None:
    keys = keys_of((0, 0, 1))
    assert set(map(tuple, keys[:, 1:3])) == {(4, 9), (4, 10), (5, 9), (5, 10)}


def test_counts_follow_the_probabilities() -> None:
    keys = keys_of((0.5, 0.3, 0.2), count=8000)
    assert (keys[:, 0] == 0).all()
    assert (keys[:, -1] == 15).all()
    distinct = 1 + (np.diff(keys) > 0).sum(axis=1)
    shares = np.bincount(distinct, minlength=5)[2:] / len(keys)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.02)


@pytest.mark.parametrize("num_frames", [2, 3, 4, 5, 8, 32])
def test_any_length_keeps_both_ends_and_every_frame_has_a_place(num_frames: int) -> None:
    keys = keys_of((0.25, 0.25, 0.25, 0.25), num_frames=num_frames)
    assert (keys[:, [0, -1]] == [0, num_frames - 1]).all()
    assert (np.diff(keys) >= 0).all()
    places = sample_places(np.random.default_rng(1), keys, interpolation="random")
    assert places.shape == (2000, num_frames)
    # Of the frame numbers themselves, linear interpolation must give the frame numbers.
    places = sample_places(np.random.default_rng(1), keys, interpolation="linear")
    expected = np.broadcast_to(np.arange(num_frames), places.shape)
    np.testing.assert_allclose(interpolate(keys.astype(float), places), expected, atol=1e-9)


def test_key_frames_are_hit_in_every_mode() -> None:
    rng = np.random.default_rng(0)
    keys = keys_of((0, 0.5, 0.5), count=300)
    values = rng.normal(size=(300, 4, 3, 2))
    values[:, 3] = np.where((keys[:, 2] == keys[:, 3])[:, None, None], values[:, 2], values[:, 3])
    frames = interpolate(values, sample_places(rng, keys, interpolation="random"))
    assert frames.shape == (300, 16, 3, 2)
    at_keys = frames[np.arange(300)[:, None], keys]
    np.testing.assert_allclose(at_keys, values)


def test_modes_are_drawn_for_each_segment() -> None:
    keys = np.tile([0, 8, 16], (6000, 1))
    places = sample_places(np.random.default_rng(0), keys, interpolation="random")
    for quarter, start in ((places[:, 2], 0), (places[:, 10], 1)):
        modes = np.stack([quarter == start + share for share in (0.25, 0.0625, 0.4375)])
        np.testing.assert_allclose(modes.mean(axis=1), [0.7, 0.15, 0.15], atol=0.02)
    first, second = places[:, 2] == 0.25, places[:, 10] == 1.25
    assert (first & second).mean() == pytest.approx(0.49, abs=0.03)  # drawn on their own
