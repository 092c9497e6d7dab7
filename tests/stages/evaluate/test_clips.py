"""Views of a test: worked numbers of downstream.md section 3 and of the method specs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.evaluate.clips import (
    ClipRule,
    EvaluationViews,
    clip_indices,
    clip_starts,
    cover_indices,
)
from stages.evaluate.presets import VIEWS


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


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("ctp", [3, 10, 17, 24, 31, 37, 44, 51, 58, 65]),  # ctp.md section 6a
        ("rspnet", [0, 9, 19, 28, 37, 47, 56, 65, 75, 84]),  # rspnet.md section 9
        ("fame", [0, 7, 15, 22, 30, 37, 45, 52, 60, 68]),  # fame.md section 6a
    ],
)
def test_starts_of_the_presets_in_100_frames(preset: str, expected: list[int]) -> None:
    assert EvaluationViews(**VIEWS[preset]).indices(100)[:, 0].tolist() == expected


def test_clips_that_cover_a_video() -> None:
    """rspnet.md section 9: N=10, T=4."""
    assert cover_indices(10, num_clips=1, num_frames=4).tolist() == [[1, 3, 6, 8]]
    assert cover_indices(10, num_clips=2, num_frames=4).tolist() == [[0, 2, 5, 7], [1, 3, 6, 8]]
    for length in (1, 3, 16, 17, 400):
        indices = EvaluationViews(**VIEWS["rspnet_ssv2"]).indices(length)
        assert indices.shape == (2, 16)
        assert (np.diff(indices) >= 0).all()
        assert 0 <= indices.min() <= indices.max() < length


def test_rspnet_loops_or_spreads_short_videos() -> None:
    """rspnet.md section 9: N=4, T=6 and N=8, T=6, stride 2."""

    def one(length: int, stride: int) -> list[int]:
        return clip_indices(length, num_clips=1, num_frames=6, frame_stride=stride, rule="even")[
            0
        ].tolist()

    assert one(4, 1) == [0, 1, 2, 3, 0, 1]
    assert one(8, 2) == [0, 1, 3, 4, 6, 7]


@pytest.mark.parametrize(
    ("height", "width", "lefts", "tops"),
    [(256, 340, [0, 42, 84], [0, 0, 0]), (341, 256, [0, 0, 0], [0, 42, 85])],
)
def test_three_crops(height: int, width: int, lefts: list[int], tops: list[int]) -> None:
    crops = EvaluationViews(**VIEWS["constcl"]).crops(height, width)
    assert [crop.left for crop in crops] == lefts
    assert [crop.top for crop in crops] == tops
    assert {crop.size for crop in crops} == {256}


@pytest.mark.parametrize(
    ("height", "width", "to"), [(240, 320, (128, 171)), (320, 240, (171, 128))]
)
def test_ctp_does_not_keep_the_aspect(height: int, width: int, to: tuple[int, int]) -> None:
    (crop,) = EvaluationViews(**VIEWS["ctp"]).crops(height, width)
    assert (crop.height, crop.width) == to
    assert {crop.top, crop.left} == {8, 29}


def test_views_are_cut_from_the_frames_named(make_frames: Any) -> None:
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (20, 1, 1, 3), np.uint8), 48, 1).repeat(64, 2)
    video = make_frames("a.mp4", frames=frames)
    views = EvaluationViews(num_clips=2, num_frames=4, frame_stride=2, size=32, num_crops=3)
    found = views.cut(video)
    assert found.shape == (views.num_views, 4, 32, 32, 3) == (6, 4, 32, 32, 3)
    colours = found.mean((2, 3))
    expected = frames[views.indices(20), 0, 0]
    np.testing.assert_allclose(colours, np.repeat(expected, 3, axis=0), atol=6)


def test_sizes_must_fit() -> None:
    with pytest.raises(ValidationError, match=r"size 224, short_side 128 .* must not fall"):
        EvaluationViews(size=224, short_side=128)


def test_every_preset_is_valid() -> None:
    assert {EvaluationViews(**values).num_views for values in VIEWS.values()} == {1, 2, 10, 30}
