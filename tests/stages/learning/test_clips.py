"""Clip sampling after ctp.md section 2."""

from __future__ import annotations

import numpy as np

from stages.learning.clips import sample_clip


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
    assert set(np.unique(offsets - offsets.min(1, keepdims=True))) <= {0, 1, 2}
