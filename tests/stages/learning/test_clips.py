"""Clip sampling after ctp.md section 2."""

from __future__ import annotations

import numpy as np
import pytest

from stages.learning.clips import gap_between, sample_clip, sample_pair, sample_window


def test_indices_stay_in_the_video_and_never_go_back() -> None:
    rng = np.random.default_rng(0)
    for length in (1, 5, 16, 40, 300):
        for _ in range(50):
            clip = sample_clip(rng, length=length, num_frames=16, strides=(1, 2, 3, 4, 5))
            assert clip.shape == (16,)
            assert clip.min() >= 0
            assert clip.max() <= length - 1
            assert (np.diff(clip) >= 0).all()


def test_short_video_starts_at_zero_and_clamps() -> None:
    clip = sample_clip(np.random.default_rng(0), length=6, num_frames=8, strides=(1,))
    assert clip.tolist() == [0, 1, 2, 3, 4, 5, 5, 5]


def test_every_start_is_reached() -> None:
    rng = np.random.default_rng(0)
    starts = {int(sample_clip(rng, length=20, num_frames=16, strides=(1,))[0]) for _ in range(200)}
    assert starts == {0, 1, 2, 3, 4}


def test_jitter_is_below_the_stride() -> None:
    rng = np.random.default_rng(0)
    clips = np.stack([sample_clip(rng, length=49, num_frames=16, strides=(3,)) for _ in range(300)])
    offsets = clips - 3 * np.arange(16)
    assert set(np.unique(offsets - offsets.min(1, keepdims=True))) == {0, 1, 2}  # frame by frame


@pytest.mark.parametrize(
    ("length", "stride", "last_start"), [(35, 1, 19), (35, 2, 3), (33, 2, 1), (32, 2, 0), (9, 2, 0)]
)
def test_windows_start_wherever_all_their_frames_fit(
    length: int, stride: int, last_start: int
) -> None:
    """fame.md section 2: 32 consecutive frames, of which every second is kept."""
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(300):
        window = sample_window(rng, length=length, num_frames=16, stride=stride)
        starts.append(int(window[0]))
        assert (window == (window[0] + stride * np.arange(16)) % length).all()
    assert set(starts) == set(range(last_start + 1))


# Video length -> number of starts of a clip of 16 frames at stride 2 (constcl.md section 10).
STARTS = {250: 220, 300: 270, 64: 34, 31: 1}


@pytest.mark.parametrize(
    ("u", "gap"), [(0, 0), (0.25, 29), (0.5, 64), (0.75, 110), (0.99, 198), (0.9999, 217)]
)
def test_gap_of_a_pair(u: float, gap: int) -> None:
    assert gap_between(u, 220) == gap


@pytest.mark.parametrize(("length", "mean"), [(250, 72.8), (300, 89.5), (64, 10.8), (31, 0)])
def test_mean_gap_of_pairs(length: int, mean: float) -> None:
    """A third of the number of starts, less half a frame for rounding down."""
    grid = (np.arange(20000) + 0.5) / 20000
    gaps = np.array([gap_between(u, STARTS[length]) for u in grid])
    assert gaps.mean() == pytest.approx(mean, abs=0.1)
    assert gaps.max() < STARTS[length]
    if length == 250:
        assert (gaps < 31).mean() == pytest.approx(0.262, abs=0.005)


def test_pairs_stay_in_the_video_in_either_order() -> None:
    rng = np.random.default_rng(0)
    pairs = np.stack([sample_pair(rng, length=64, num_frames=16, stride=2) for _ in range(2000)])
    assert pairs.shape == (2000, 2, 16)
    assert (np.diff(pairs) == 2).all()
    starts_K2 = pairs[..., 0]
    assert set(starts_K2.ravel()) == set(range(34))
    first_is_earlier = (starts_K2[:, 0] < starts_K2[:, 1]).sum()
    first_is_later = (starts_K2[:, 0] > starts_K2[:, 1]).sum()
    assert first_is_earlier / (first_is_earlier + first_is_later) == pytest.approx(0.5, abs=0.05)


def test_gaps_of_pairs_fall_linearly_and_their_places_are_uniform() -> None:
    rng = np.random.default_rng(0)
    pairs = [sample_pair(rng, length=250, num_frames=16, stride=2)[:, 0] for _ in range(6000)]
    early, late = np.sort(np.stack(pairs), axis=1).T
    gap = late - early
    assert gap.mean() == pytest.approx(72.8, abs=2)
    # Of a gap at the middle of its range the density is half of that at 0.
    assert (np.abs(gap - 110) < 20).sum() / (gap < 20).sum() == pytest.approx(1.05, abs=0.12)
    share = early / np.maximum(1, 219 - gap)
    assert share[gap < 200].mean() == pytest.approx(0.5, abs=0.02)
    assert np.quantile(share[gap < 200], [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.03)


def test_pairs_of_a_short_video_loop() -> None:
    rng = np.random.default_rng(0)
    pairs = np.stack([sample_pair(rng, length=20, num_frames=16, stride=2) for _ in range(500)])
    assert set(pairs[..., 0].ravel()) == set(range(20))
    assert ((pairs - pairs[..., :1]) % 20 == 2 * np.arange(16) % 20).all()
