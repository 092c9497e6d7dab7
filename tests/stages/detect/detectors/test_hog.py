"""HOG on a real clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.keys import artifact_key
from stages.detect.detect import Detect
from stages.detect.detectors.hog import Hog

CLIPS = Path(__file__).parents[4] / "assets" / "clips"


@pytest.fixture(scope="module")
def frame() -> Any:
    capture = cv2.VideoCapture(str(CLIPS / "walker_a.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 80)
    return cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("upscale", [1.5, 2.0])
def test_the_man_is_found_in_pixels_of_the_frame(frame: Any, upscale: float) -> None:
    """Whatever the frame is enlarged by before."""
    found = Hog(upscale=upscale).detect(frame[None])[0]
    assert set(found.labels) == {"person"}
    assert found.scores.min() >= 0.5  # what the classifier takes for a person
    assert found.scores.max() < 1
    # The man who stands in the background, head and feet, read off the enlarged picture.
    np.testing.assert_allclose(found.xyxy[0], [139, 23, 168, 111], atol=9)


def test_threads_do_not_change_the_outcome(frame: Any) -> None:
    threads = cv2.getNumThreads()
    try:
        found = []
        for count in (1, 2):
            cv2.setNumThreads(count)
            found.append(Hog().detect(frame[None])[0])
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(found[0].xyxy, found[1].xyxy)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)
    assert len(found[0].scores) > 1


@pytest.mark.parametrize("size", [(40, 400), (400, 20)])
def test_a_frame_smaller_than_the_window_has_no_people(size: tuple[int, int]) -> None:
    found = Hog().detect(np.zeros((2, *size, 3), np.uint8))
    assert [one.xyxy.shape for one in found] == [(0, 4), (0, 4)]


def test_every_parameter_is_in_the_key() -> None:
    changes: list[dict[str, float]] = [{}, {"upscale": 1}, {"scale_step": 1.1}, {"stride": 16}]
    keys = {artifact_key(Detect(detector={"name": "hog", **one}), {}) for one in changes}
    assert len(keys) == len(changes)
    assert Hog().classes() == ("person",)
