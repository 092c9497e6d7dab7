"""NanoDet on real clips, and its geometry in exact numbers."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.detect.detect import Detect
from stages.detect.detectors.nanodet import (
    COCO_CLASSES,
    WEIGHTS,
    NanoDet,
    decode_boxes,
    to_square,
)
from storage_schemas.errors import MissingDependency
from storage_schemas.frames import Frames

CLIPS = Path(__file__).parents[4] / "assets" / "clips"


def clip(name: str) -> NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(CLIPS / f"{name}.mp4"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


@pytest.mark.parametrize(
    ("name", "label", "resize", "score_threshold"),
    [
        ("walker_a", "person", "fit", 0.5),
        ("gymnast_pair_cam02", "person", "fit", 0.5),
        ("gymnast_cam01", "person", "stretch", 0.5),
        ("dog", "dog", "stretch", 0.3),  # small weights: often "cat" as well
    ],
)
def test_what_is_to_be_seen_is_seen_in_most_frames(
    make_frames: Any, name: str, label: str, resize: str, score_threshold: float
) -> None:
    frames_THWC = clip(name)[::10]
    frames: Frames = make_frames(frames=frames_THWC)
    boxes = Detect(
        detector={"name": "nanodet", "resize": resize},
        score_threshold=score_threshold,
        frame_stride=1,
        classes=(label,),
    ).process(frames=frames)
    assert len(set(boxes.frame)) >= 0.6 * len(frames)
    assert set(boxes.label or ()) == {label}


def test_the_walker_is_where_the_box_is() -> None:
    frame = clip("walker_a")[80]
    found = NanoDet().detect(frame[None], video_id="w", frame_indices=[80])[0]
    best = found.labels.index("person")
    # The woman on the lawn, hands and feet, read off the enlarged picture.
    np.testing.assert_allclose(found.xyxy[best], [266, 128, 321, 227], atol=8)


def test_detection_is_deterministic_for_any_number_of_threads() -> None:
    frame = clip("gymnast_cam01")[:1]
    threads = cv2.getNumThreads()
    try:
        found = []
        for count in (1, 2):
            cv2.setNumThreads(count)
            found.append(NanoDet().detect(frame, video_id="g", frame_indices=[0])[0])
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(found[0].xyxy, found[1].xyxy)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)
    assert found[0].labels == found[1].labels


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed here"
)
def test_both_runtimes_agree() -> None:
    frame = clip("gymnast_cam01")[:1]
    one, two = (
        NanoDet(runtime=runtime, candidates=20).detect(frame, video_id="g", frame_indices=[0])[0]
        for runtime in ("opencv", "onnxruntime")
    )
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
    np.testing.assert_allclose(one.xyxy, two.xyxy, atol=0.05)
    assert one.labels == two.labels


def test_missing_onnxruntime_is_told_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"with: pip install onnxruntime$"):
        NanoDet(runtime="onnxruntime")
    assert NanoDet().runtime == "opencv"


def test_a_used_detector_can_be_sent_to_another_process() -> None:
    detector = NanoDet(candidates=5)
    detector.detect(np.zeros((1, 32, 32, 3), np.uint8), video_id="z", frame_indices=[0])
    assert pickle.loads(pickle.dumps(detector)) == detector


@pytest.mark.parametrize("fit", [True, False])
@pytest.mark.parametrize("size", [(240, 426), (426, 240), (64, 64), (5, 900)])
def test_boxes_come_back_from_the_square(size: tuple[int, int], fit: bool) -> None:
    """A white rectangle, found again in the square and mapped back."""
    height, width = size
    frame = np.zeros((*size, 3), np.uint8)
    expected = np.array([width // 4, height // 5, width // 2, height], np.float32)
    x1, y1, x2, y2 = expected.astype(int)
    frame[y1:y2, x1:x2] = 255
    square, scale, shift = to_square(frame, fit=fit)
    assert square.shape == (416, 416, 3)
    rows, columns = np.nonzero(square[..., 0] > 127)
    corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    tolerance = 1 / scale + 0.5
    assert (np.abs((corners - shift) / scale - expected) <= tolerance).all()
    if fit:
        assert scale[0] == pytest.approx(scale[1], rel=0.2 if min(size) < 10 else 0.01)


def test_decode_boxes_worked_numbers() -> None:
    logits = np.full((2, 4, 11), -50.0, np.float32)
    logits[0, :, 2] = 50  # every side two strides away
    logits[1, :, [1, 2]] = 50  # halfway between one and two
    boxes = decode_boxes(
        logits.reshape(2, 44),
        np.array([[4, 4], [200, 100]], np.float32),
        np.array([[8], [32]], np.float32),
    )
    assert boxes.tolist() == [[-12, -12, 20, 20], [152, 52, 248, 148]]


def test_weights_are_the_ones_of_this_version() -> None:
    """They are not in the key: raise the version of `NanoDet` when they change."""
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert (NanoDet.version, digest[:16]) == (2, "ab0d18f7559bcf00")
    assert digest in (WEIGHTS.parent / "NOTICE.md").read_text()


def test_classes_are_those_of_coco() -> None:
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    assert [COCO_CLASSES[i] for i in (0, 16, 79)] == ["person", "dog", "toothbrush"]
