"""Detectors on real clips, with exact boxes, and what is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.keys import artifact_key
from stages.decode.decode import Decode
from stages.detect.detect import Detect, select, suppress
from stages.detect.detector import Detections
from stages.detect.detectors.nanodet import COCO_CLASSES, decode_boxes
from stages.detect.detectors.precomputed import Precomputed
from storage_schemas.errors import MissingDependency
from storage_schemas.frames import Frames
from storage_schemas.videos import VideoFile

CLIPS = Path(__file__).parents[3] / "assets" / "clips"


def clip(name: str) -> Frames:
    path = CLIPS / name
    return Decode().process(videos=VideoFile(name, "digest", path.stat().st_size, path))


def test_gymnast_is_a_person_in_most_frames() -> None:
    boxes = Detect(frame_stride=20, classes=("person",), score_threshold=0.5).process(
        frames=clip("gymnast_cam01.mp4")
    )
    assert len(set(boxes.frame)) >= 4  # of 5
    assert boxes.label is not None
    assert set(boxes.label) == {"person"}


def test_detection_is_deterministic() -> None:
    frames = clip("dog.mp4")
    one, two = (Detect(frame_stride=23).process(frames=frames) for _ in range(2))
    assert (one.xyxy == two.xyxy).all()
    assert len(one) > 0


def test_decode_boxes_of_a_sharp_distribution() -> None:
    logits = np.full((52 * 52, 4, 11), -50.0, np.float32)
    logits[:, :, 2] = 50  # every side two strides away
    boxes = decode_boxes(logits.reshape(-1, 44), stride=8)
    assert boxes[0].tolist() == [4 - 16, 4 - 16, 4 + 16, 4 + 16]
    assert boxes[53].tolist() == [12 - 16, 12 - 16, 12 + 16, 12 + 16]


def test_select_clips_thresholds_and_suppresses() -> None:
    raw = Detections(
        xyxy=np.array(
            [[-5, 0, 10, 10], [0, 0, 10, 10.5], [0, 0, 10, 10], [50, 50, 60, 60], [90, 0, 95, 5]],
            np.float32,
        ),
        scores=np.array([0.9, 0.8, 0.7, 0.2, 0.6], np.float32),
        labels=["cat", "cat", "dog", "cat", "cat"],
    )
    kept = select(
        raw, height=40, width=80, score_threshold=0.3, nms_iou=0.5, max_boxes=9, classes=None
    )
    assert kept.xyxy.tolist() == [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert list(kept.labels) == ["cat", "dog"]
    only = select(
        raw, height=40, width=80, score_threshold=0, nms_iou=1, max_boxes=1, classes=("dog",)
    )
    assert list(only.labels) == ["dog"]


def test_suppress_is_greedy_by_class() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4]], np.float32)
    assert suppress(xyxy, np.array(["a", "a", "a"]), iou_threshold=0.5).tolist() == [0, 2]
    assert suppress(xyxy, np.array(["a", "b", "a"]), iou_threshold=0.3).tolist() == [0, 1]


def coco(path: Path) -> Path:
    content = {
        "images": [
            {"id": 1, "file_name": "sub/a.mp4/000002.jpg"},
            {"id": 2, "video_id": "b.mp4", "frame": 0},
        ],
        "categories": [{"id": 7, "name": "thing"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": [5, 6, 10, 12], "score": 0.5},
            {"image_id": 2, "category_id": 7, "bbox": [0, 0, 4, 4]},
        ],
    }
    path.write_text(json.dumps(content))
    return path


def test_precomputed_boxes(tmp_path: Path, make_frames: Any) -> None:
    detector = Precomputed(boxes=coco(tmp_path / "boxes.json"))  # type: ignore[arg-type]
    stage = Detect(detector=detector, frame_stride=2)
    a = stage.process(frames=make_frames("sub/a.mp4"))
    assert a.frame.tolist() == [2]
    assert a.xyxy.tolist() == [[5, 6, 15, 18]]
    assert a.score is not None
    assert a.score.tolist() == [0.5]
    assert stage.process(frames=make_frames("b.mp4")).label == ["thing"]
    assert len(stage.process(frames=make_frames("c.mp4"))) == 0


def test_content_of_the_file_is_in_the_key_and_its_place_is_not(tmp_path: Path) -> None:
    def key(path: Path) -> str:
        value = {"name": "precomputed", "boxes": str(path)}
        return artifact_key(Detect(detector=value), {})  # type: ignore[arg-type]

    one = coco(tmp_path / "one.json")
    other = tmp_path / "other.json"
    other.write_bytes(one.read_bytes())
    assert key(one) == key(other)
    other.write_text(one.read_text().replace("thing", "dog"))
    assert key(one) != key(other)
    assert key(one) != artifact_key(Detect(), {})


def test_unknown_class_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"knows no class 'persn'; did you mean 'person'\?"):
        Detect(classes=("persn",))
    assert len(COCO_CLASSES) == 80


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is not None, reason="detectron2 is installed here"
)
def test_missing_detectron2_is_told_at_construction() -> None:
    with pytest.raises(MissingDependency, match=r"pip install torchvision && pip install .*detec"):
        Detect(detector="detectron2_zoo")  # type: ignore[arg-type]


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is None, reason="detectron2 is not installed here"
)
def test_detectron2_with_random_weights(make_frames: Any) -> None:
    detector = {"name": "detectron2_zoo", "score_floor": 0.0}
    stage = Detect(detector=detector, score_threshold=0.0, frame_stride=6)  # type: ignore[arg-type]
    boxes = stage.process(frames=make_frames())
    assert boxes.xyxy.shape[1] == 4
