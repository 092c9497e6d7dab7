from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.propose.felzenszwalb import Felzenszwalb


@pytest.fixture(params=["skimage", "opencv"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def blocks() -> np.ndarray:
    """48 squares of 16 x 16 pixels, no two neighbours of one colour."""
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def propose(image: np.ndarray, make_frames: Callable[..., Any], **parameters: Any) -> Any:
    frames = make_frames(frames=image[None])
    return Felzenszwalb(**parameters).process(frames=frames)


def test_squares_of_one_colour_are_the_segments(backend: str) -> None:
    stage = Felzenszwalb(backend=backend, scales=(50, 5000), sigma=0.0, short_side=None)
    fine, coarse = stage.label_maps(blocks())
    expected = np.kron(np.arange(48).reshape(6, 8), np.ones((16, 16), int))
    pairs = np.unique(np.stack([fine.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape == (2, 48)  # one to one
    assert len(np.unique(coarse)) < 4


def test_both_runs_find_the_rectangles(
    picture: np.ndarray,
    rectangles: tuple[tuple[int, ...], ...],
    backend: str,
    make_frames: Callable[..., Any],
) -> None:
    boxes = propose(picture, make_frames, backend=backend, scales=(200, 500), sigma=0.8)
    assert boxes.region is not None
    assert len(np.unique(boxes.region)) == len(boxes)
    for run in range(2):
        found = boxes.xyxy[boxes.region % 2 == run]
        for wanted in rectangles:
            assert np.abs(found - np.array(wanted)).max(axis=1).min() <= 3


@pytest.mark.parametrize("min_area", [0.5, 1.0])
@pytest.mark.parametrize("side", [None, 48])
def test_no_segment_is_smaller_than_asked_for(
    picture: np.ndarray, backend: str, side: int | None, min_area: float
) -> None:
    scales = (100, 500, 1000)
    stage = Felzenszwalb(backend=backend, scales=scales, short_side=side, min_area=min_area)
    for scale, labels in zip(scales, stage.label_maps(picture), strict=True):
        _, areas = np.unique(labels, return_counts=True)
        assert areas.min() * (picture.shape[0] / labels.shape[0]) ** 2 >= min_area * scale


def test_lengths_are_of_the_stored_frame(picture: np.ndarray, backend: str) -> None:
    large = picture.repeat(2, axis=0).repeat(2, axis=1)  # shrinks back to exactly `picture`
    # Steps keep their height where pixels are only repeated; of scale and area half is left.
    one = Felzenszwalb(
        backend=backend, scales=(100,), sigma=0.8, min_area=1.0, short_side=None
    ).label_maps(picture)[0]
    two = Felzenszwalb(
        backend=backend, scales=(200,), sigma=1.6, min_area=2.0, short_side=96
    ).label_maps(large)[0]
    np.testing.assert_array_equal(one, two)


def test_blur_joins_what_noise_parts(backend: str) -> None:
    noise = np.random.default_rng(0).integers(0, 120, (60, 80, 3), dtype=np.uint8)
    counts = [
        len(np.unique(Felzenszwalb(backend=backend, scales=(40,), sigma=s).label_maps(noise)[0]))
        for s in (0.0, 2.0)
    ]
    assert counts[0] > counts[1]


def test_the_largest_boxes_of_all_runs_are_kept(
    backend: str, make_frames: Callable[..., Any]
) -> None:
    options = {"min_side": 0.0, "max_side": 1.0, "sigma": 0.0, "scales": (50, 200)}
    every = propose(blocks(), make_frames, backend=backend, max_boxes=None, **options)
    some = propose(blocks(), make_frames, backend=backend, max_boxes=20, **options)
    area = (every.xyxy[:, 2:] - every.xyxy[:, :2]).prod(axis=1)
    kept = (some.xyxy[:, 2:] - some.xyxy[:, :2]).prod(axis=1)
    assert len(every) > 40
    assert sorted(kept) == sorted(area)[-20:]
    assert set(some.region) <= set(every.region)


def test_a_scale_finds_the_same_alone(picture: np.ndarray, make_frames: Callable[..., Any]) -> None:
    alone = propose(picture, make_frames, scales=(500,))
    both = propose(picture, make_frames, scales=(500, 1000))
    np.testing.assert_array_equal(both.xyxy[both.region % 2 == 0], alone.xyxy)


@pytest.mark.parametrize("scales", [(), (0,), (500, -1)])
def test_scales_that_mean_nothing_are_refused(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="scales"):
        Felzenszwalb(scales=scales)
