"""Training clips: where they start, how they are cut, and what the presets forbid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.evaluate.finetune_presets import FINETUNE
from stages.evaluate.training_clips import TrainingClips
from stages.learning.views import CropAndFlip


def drawn(clips: TrainingClips, length: int, count: int = 300) -> Any:
    rng = np.random.default_rng(0)
    return np.stack([clips.indices(length, rng) for _ in range(count)])


def test_windows_start_anywhere_and_loop() -> None:
    indices = drawn(TrainingClips(num_frames=4, frame_stride=2), 10)
    assert set(indices[:, 0]) == {0, 1, 2}
    assert (np.diff(indices) == 2).all()
    assert drawn(TrainingClips(num_frames=6), 4)[0].tolist() == [0, 1, 2, 3, 0, 1]


def test_ctp_repeats_the_last_frame() -> None:
    clips = TrainingClips(num_frames=6, sampling="clamped")
    assert drawn(clips, 4)[0].tolist() == [0, 1, 2, 3, 3, 3]
    assert set(drawn(clips, 9)[:, 0]) == {0, 1, 2, 3}


def test_cover_spans_the_video() -> None:
    indices = drawn(TrainingClips(num_frames=4, sampling="cover"), 10)
    assert indices.min() == 0
    assert indices.max() == 9
    assert set(indices[:, 0]) == {0, 1, 2}
    assert set(np.diff(indices).ravel()) == {2, 3}


@pytest.mark.parametrize("crop", ["area", "scaled", "stretched"])
def test_clips_are_squares(make_frames: Any, crop: Any) -> None:
    clips = TrainingClips(num_frames=4, size=32, crop=crop, short_sides=(32, 40))
    for size in ((48, 64), (64, 48)):
        video = make_frames("a.mp4", num_frames=9, size=size)
        clip = clips.cut(video, np.random.default_rng(0))
        assert clip.shape == (4, 32, 32, 3)


def test_sizes_that_ctp_stretches_to() -> None:
    """149x112, 171x128 and 192x144; upright for upright videos."""
    clips = TrainingClips(**FINETUNE["ctp"]["clips"])
    rng = np.random.default_rng(0)
    for height, width in ((240, 320), (360, 300)):
        found = {
            (crop.width, crop.height)
            for _ in range(60)
            if isinstance(crop := clips._crop(height, width, rng), CropAndFlip)
        }
        expected = {(149, 112), (171, 128), (192, 144)}
        assert found == (expected if width > height else {(h, w) for w, h in expected})


def test_flips_are_drawn_and_can_be_off() -> None:
    rng = np.random.default_rng(0)
    for probability in (0.0, 0.35):
        clips = TrainingClips(flip_probability=probability)
        share = np.mean([clips._crop(128, 171, rng).flip for _ in range(4000)])
        assert share == pytest.approx(probability, abs=0.03)


@pytest.mark.parametrize("preset", [name for name in FINETUNE if "ssv" in name])
def test_something_something_is_never_mirrored(preset: str) -> None:
    assert TrainingClips(**FINETUNE[preset]["clips"]).flip_probability == 0


def test_squares_must_fit() -> None:
    with pytest.raises(ValidationError, match=r"short_sides \(100,\) must be at least size 112"):
        TrainingClips(crop="scaled", short_sides=(100,))
