"""RSPNet: its constants, and what it takes from a video."""

from __future__ import annotations

import numpy as np
from conftest import frames_of

from stages.learning.sample import Sample
from stages.pretrain.methods.rspnet import RSPNet
from storage_schemas.shards import Shard


def test_constants_are_the_published_ones() -> None:
    """rspnet.md sections 2 and 3; presets in ``test_relative_speed.py``."""
    assert RSPNet().model_dump() == {
        "name": "rspnet",
        "version": RSPNet.version,
        "preset": "reference",
        "num_frames": 16,
        "size": 112,
        "crop_area": (0.4, 1.0),
        "relative": {
            "speed": 2, "lesser_speeds": (), "slow_share": 0.5, "dim": 128, "projector": "linear",
            "temperature": 0.07, "momentum": 0.999, "queue_size": 16384, "margin": 2.0,
            "speed_temperature": 0.07, "video_weight": 1.0, "speed_weight": 1.0,
            "enqueue": "other", "speed_task": "relative",
        },
        "colour": True,
        "colour_law": {
            "jitter_probability": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
            "hue": 0.4, "contrast_around": "luma", "grey_probability": 0.2, "grey_first": True,
            "blur_probability": 0.0, "blur_sigma": (0.1, 2.0), "blur_taps": None,
            "solarise_probability": 0.0,
        },
    }  # fmt: skip


def test_views_are_windows_of_twice_the_clip_at_places_of_their_own() -> None:
    """A frame's number is its grey; a video of 10 frames is looped."""
    method = RSPNet(num_frames=4, size=32)
    for length in (16, 10, 5):
        frames = np.repeat(6 * np.arange(length, dtype=np.uint8), 48 * 64 * 3)
        sample = Sample(frames=frames_of("a.mp4", frames.reshape(length, 48, 64, 3), kind=Shard))
        starts = {"query": set(), "key": set()}
        for seed in range(100 if length == 16 else 20):
            views = method.views(sample, np.random.default_rng(seed))
            for name, view in views.items():
                assert view.shape == (8, 32, 32, 3)
                seen = np.round(view.mean((1, 2, 3)) / 6).astype(int)
                np.testing.assert_array_equal(seen, (seen[0] + np.arange(8)) % length)
                starts[name].add(int(seen[0]))
        if length == 16:
            assert all(found == set(range(9)) for found in starts.values())
