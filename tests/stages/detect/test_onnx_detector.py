"""Which candidates are kept, and what the runtimes have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stages.detect.detectors.nanodet import WEIGHTS, NanoDet
from stages.detect.onnx_detector import best_pairs, load_network

CLIPS = Path(__file__).parents[3] / "assets" / "clips"


@pytest.fixture
def frame() -> Any:
    capture = cv2.VideoCapture(str(CLIPS / "gymnast_cam01.mp4"))
    return cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("count", [1, 5, 60, 150, 151, 1000])
def test_best_pairs_are_those_of_a_full_sort(count: int) -> None:
    scores = np.random.default_rng(count).random((50, 3), dtype=np.float32).round(2)
    rows, columns = best_pairs(scores, count)
    assert len(rows) == min(count, 150)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows)
    expected = np.sort(scores.ravel())[::-1][:count]
    np.testing.assert_array_equal(scores[rows, columns], expected)


def test_a_place_may_have_two_classes() -> None:
    scores = np.array([[0.1, 0.2], [0.9, 0.8], [0.3, 0.0]], np.float32)
    rows, columns = best_pairs(scores, 3)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(1, 0), (1, 1), (2, 0)]
    assert best_pairs(scores[:0], 3)[0].tolist() == []


def test_threads_do_not_change_the_outcome(frame: Any) -> None:
    one, two = (NanoDet().detect(frame[None], threads=count)[0] for count in (1, 2))
    np.testing.assert_array_equal(one.xyxy, two.xyxy)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.labels == two.labels


def test_opencv_threads_do_not_change_the_outcome(frame: Any) -> None:
    threads = cv2.getNumThreads()
    try:
        found = []
        for count in (1, 2):
            cv2.setNumThreads(count)
            found.append(NanoDet(runtime="opencv").detect(frame[None])[0])
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(found[0].xyxy, found[1].xyxy)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_both_runtimes_agree(frame: Any) -> None:
    one, two = (
        NanoDet(runtime=runtime, candidates=20).detect(frame[None])[0]
        for runtime in ("opencv", "onnxruntime")
    )
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
    np.testing.assert_allclose(one.xyxy, two.xyxy, atol=0.05)
    assert one.labels == two.labels


def test_a_network_is_loaded_once_and_bound_to_the_threads() -> None:
    def load(threads: int) -> Any:
        return load_network(
            WEIGHTS, "onnxruntime", outputs=("Identity:0",), threads=threads, device="cpu"
        )

    assert load(1) is load(1)
    assert load(1) is not load(2)
