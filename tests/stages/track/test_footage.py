from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.scenes import SceneSpec, render
from stages.track.footage import read, working_size


@pytest.mark.parametrize(
    ("height", "width", "working"),
    [
        (128, 227, (128, 227)),  # as stored
        (240, 320, (120, 160)),  # half, by the codec
        (240, 427, (120, 214)),
        (480, 640, (120, 160)),
        (360, 640, (128, 228)),  # 180 is far from 128: scaled
        (96, 128, (96, 128)),  # never larger than the frame
        (1080, 1920, (135, 240)),
        (4, 90, (16, 90)),  # what flow needs to stand on
    ],
)
def test_the_working_size_is_one_that_the_codec_gives_if_it_is_near(
    height: int, width: int, working: tuple[int, int]
) -> None:
    assert working_size(height, width, 128) == working


@pytest.mark.parametrize("size", [(240, 320), (120, 160), (180, 250), (241, 333)])
def test_grey_and_colour_are_those_of_the_frame(
    make_frames: Callable[..., Any], size: tuple[int, int]
) -> None:
    images = np.zeros((3, *size, 3), np.uint8)
    images[..., 0], images[..., 1], images[..., 2] = 200, 100, 50
    footage = read(make_frames(frames=images), 0, 99, working_side=120)
    grey, red, blue = footage.planes
    assert len(footage) == 3
    assert grey.shape[1:] == footage.whole == working_size(*size, 120)
    assert red.shape[1:] == blue.shape[1:] == (grey.shape[1] // 2, grey.shape[2] // 2)
    np.testing.assert_allclose([grey.mean(), red.mean(), blue.mean()], [124, 182, 86], atol=3)
    np.testing.assert_allclose(footage.colour(1).mean((0, 1)), [200, 100, 50], atol=3)


def test_black_bars_are_cut_off() -> None:
    scene = render(SceneSpec(seed=1, num_frames=4, height=120, width=160, letterbox=0.15))
    footage = read(scene.frames(), 0, 99, working_side=120)
    assert footage.whole == (120, 160)
    assert footage.planes[0].shape[1:] == (84, 160)
    assert (footage.top, footage.left) == (18, 0)
    assert footage.colour(0).shape == (84, 160, 3)


def test_a_black_film_has_no_bars(make_frames: Callable[..., Any]) -> None:
    footage = read(make_frames(frames=np.zeros((2, 60, 80, 3), np.uint8)), 0, 9, working_side=60)
    assert footage.planes[0].shape == (2, 60, 80)


def test_a_window_is_a_part_of_the_film(make_frames: Callable[..., Any]) -> None:
    images = np.repeat(np.arange(10, dtype=np.uint8)[:, None, None, None] * 20 + 30, 3, axis=3)
    images = np.tile(images, (1, 32, 32, 1))
    footage = read(make_frames(frames=images), 4, 7, working_side=32)
    np.testing.assert_allclose(footage.planes[0].mean((1, 2)), [110, 130, 150], atol=3)
    np.testing.assert_allclose(footage.colour(0).mean(), 110, atol=3)
