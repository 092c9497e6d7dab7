"""Clips of a test: worked numbers of downstream.md section 3."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate.clips import ClipRule, clip_indices, clip_starts


@pytest.mark.parametrize(
    ("rule", "span", "expected"),
    [
        ("linspace", 64, [0, 20, 41, 62, 82, 103, 124, 144, 165, 186]),
        ("even", 16, [0, 26, 52, 78, 104, 130, 156, 182, 208, 234]),
        ("uniform", 32, [10, 32, 54, 76, 98, 120, 142, 164, 186, 208]),
    ],
)
def test_starts_of_ten_clips_in_250_frames(rule: ClipRule, span: int, expected: list[int]) -> None:
    assert clip_starts(250, num_clips=10, span=span, rule=rule).tolist() == expected


def test_only_the_even_rule_rounds() -> None:
    assert clip_starts(30, num_clips=4, span=16, rule="even").tolist() == [0, 5, 9, 14]
    assert clip_starts(30, num_clips=4, span=16, rule="linspace").tolist() == [0, 4, 9, 14]


def test_a_single_even_clip_is_centred() -> None:
    assert clip_starts(250, num_clips=1, span=16, rule="even").tolist() == [117]
    assert clip_starts(250, num_clips=1, span=16, rule="linspace").tolist() == [0]


@pytest.mark.parametrize("rule", ["linspace", "even", "uniform"])
@pytest.mark.parametrize("length", [1, 2, 15, 16, 31, 32, 33, 250])
def test_indices_stay_in_the_video(rule: ClipRule, length: int) -> None:
    indices = clip_indices(length, num_clips=10, num_frames=16, frame_stride=2, rule=rule)
    assert indices.shape == (10, 16)
    assert indices.min() >= 0
    assert indices.max() < length
    if length >= 32:  # every clip fits: no frame is repeated
        assert (np.diff(indices, axis=1) == 2).all()


def test_a_short_video_loops_and_clamps_for_ctp() -> None:
    def one(rule: ClipRule) -> list[int]:
        return clip_indices(5, num_clips=1, num_frames=8, frame_stride=1, rule=rule)[0].tolist()

    assert one("even") == one("linspace") == [0, 1, 2, 3, 4, 0, 1, 2]
    assert one("uniform") == [0, 1, 2, 3, 4, 4, 4, 4]
