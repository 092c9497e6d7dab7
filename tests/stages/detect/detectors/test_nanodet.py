"""NanoDet on real clips."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.detect.coco_classes import COCO_CLASSES
from stages.detect.detect import Detect
from stages.detect.detectors.nanodet import WEIGHTS, NanoDet
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
        ("dog", "dog", "stretch", 0.35),  # small weights: "cat" as well
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
    found = NanoDet().detect(frame[None])[0]
    best = found.labels.index("person")
    # The woman on the lawn, hands and feet, read off the enlarged picture.
    np.testing.assert_allclose(found.xyxy[best], [266, 128, 321, 227], atol=8)


def test_a_used_detector_can_be_sent_to_another_process() -> None:
    detector = NanoDet(candidates=5)
    detector.detect(np.zeros((1, 32, 32, 3), np.uint8))
    assert pickle.loads(pickle.dumps(detector)) == detector


def test_weights_are_the_ones_of_this_version() -> None:
    """They are not in the key: raise the version of `NanoDet` when they change."""
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert (NanoDet.version, digest[:16]) == (3, "ab0d18f7559bcf00")
    assert digest in (WEIGHTS.parent / "NOTICE.md").read_text()


def test_classes_are_those_of_coco() -> None:
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    assert [COCO_CLASSES[i] for i in (0, 16, 79)] == ["person", "dog", "toothbrush"]
