"""The stage: what is kept of a detector's boxes, keys, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.keys import artifact_key, parameters_of
from stages.detect.detect import Detect, select, suppress
from stages.detect.detector import Detections
from storage_schemas.boxes import Boxes


def detections(rows: list[tuple[list[float], float, str]]) -> Detections:
    return Detections(
        xyxy=np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in rows], np.float32),
        labels=[label for _, _, label in rows],
    )


RAW = detections(
    [
        ([0, 0, 10, 10], 0.7, "dog"),
        ([0, 0, 10, 10.5], 0.8, "cat"),  # the better cat covers it
        ([-5, 0, 10, 10], 0.9, "cat"),  # leaves the frame
        ([50, 20, 60, 30], 0.2, "cat"),  # low score
        ([90, 0, 95, 5], 0.6, "cat"),  # outside
        ([20, 20, 20, 30], 0.6, "cat"),  # empty
        ([np.nan, 0, 5, 5], 0.6, "cat"),
        ([0, 0, 5, 5], np.nan, "cat"),
    ]
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [("cat", 0.9), ("dog", 0.7)]),
        ({"score_threshold": 0.2}, [("cat", 0.9), ("dog", 0.7), ("cat", 0.2)]),
        ({"nms_iou": 1.0}, [("cat", 0.9), ("cat", 0.8), ("dog", 0.7)]),
        ({"classes": ("dog",)}, [("dog", 0.7)]),
        ({"classes": ("cow",)}, []),
        ({"max_boxes": 1}, [("cat", 0.9)]),
        ({"score_threshold": 0.95}, []),
    ],
)
def test_select(changes: dict[str, Any], expected: list[tuple[str, float]]) -> None:
    rules: dict[str, Any] = {
        "score_threshold": 0.3, "nms_iou": 0.5, "max_boxes": 9, "classes": None, **changes,
    }  # fmt: skip
    kept = select(RAW, height=40, width=80, **rules)
    assert [(n, round(float(s), 4)) for n, s in zip(kept.labels, kept.scores, strict=True)] == (
        expected
    )
    assert kept.xyxy.shape == (len(expected), 4)
    if expected:
        assert kept.xyxy[0].tolist() == [0, 0, 10, 10]  # clipped


def test_order_of_equal_scores_is_that_of_the_detector() -> None:
    raw = detections([([0, 0, 5, 5], 0.5, "a"), ([10, 0, 15, 5], 0.5, "b")])
    kept = select(
        raw, height=40, width=80, score_threshold=0, nms_iou=0.5, max_boxes=9, classes=None
    )
    assert list(kept.labels) == ["a", "b"]


def test_suppress_is_greedy_by_class() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4]], np.float32)
    # The third overlaps the second (2/3), which is itself suppressed (.6) and cannot act.
    assert suppress(xyxy, np.array(["a", "a", "a"]), iou_threshold=0.5).tolist() == [0, 2]
    assert suppress(xyxy, np.array(["a", "b", "a"]), iou_threshold=0.3).tolist() == [0, 1]
    assert suppress(xyxy[:0], np.array([]), iou_threshold=0.5).tolist() == []


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Any]:
    """Precomputed boxes, one a frame: box i of frame i."""
    path = tmp_path / "boxes.json"
    images = [{"id": t, "file_name": f"a.mp4/{t}.jpg"} for t in range(40)]
    boxes = [{"image_id": t, "category_id": 1, "bbox": [t, 1, 5, 5]} for t in range(40)]
    content = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "thing"}],
    }
    path.write_text(json.dumps(content))
    return {"name": "precomputed", "boxes": str(path)}


@pytest.mark.parametrize(
    ("num_frames", "stride", "frames"),
    [
        (12, 4, [0, 4, 8]),
        (12, 1, list(range(12))),
        (3, 4, [0]),
        (1, 1, [0]),
        (40, 2, range(0, 40, 2)),
    ],
)
def test_every_nth_frame_is_looked_at(
    make_frames: Any, coco: Any, num_frames: int, stride: int, frames: Sequence[int]
) -> None:
    stage = Detect(detector=coco, frame_stride=stride)
    boxes = stage.process(frames=make_frames(num_frames=num_frames, size=(48, 64)))
    assert boxes.frame.tolist() == list(frames)
    assert boxes.xyxy[:, 0].tolist() == list(frames)
    assert (boxes.num_frames, boxes.height, boxes.width) == (num_frames, 48, 64)


def stored(boxes: Boxes, folder: Path) -> Boxes:
    """The boxes as another process reads them."""
    Boxes.write_part(folder, {boxes.video_id: boxes.to_tables()})
    return Boxes.open_part(folder)[boxes.video_id]


def test_preview_draws_in_the_frames(make_frames: Any, coco: Any, tmp_path: Path) -> None:
    grey = np.full((12, 160, 200, 3), 90, np.uint8)
    frames = make_frames(frames=grey)
    stage = Detect(detector=coco, frame_stride=3)
    boxes = stored(stage.process(frames=frames), tmp_path)
    picture = stage.preview(boxes, frames=frames)

    def coloured(image: NDArray[np.uint8]) -> float:
        return float((np.ptp(image.astype(int), axis=-1) > 30).mean())

    assert coloured(picture) > 0.002
    empty = stored(Boxes(video_id="a.mp4", num_frames=12, height=160, width=200), tmp_path)
    assert coloured(stage.preview(empty, frames=frames)) == 0


def test_every_parameter_is_in_the_key(coco: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(Path(coco["boxes"]).read_text().replace("thing", "dog"))
    variants: list[dict[str, Any]] = [
        {},
        {"detector": {"name": "nanodet", "candidates": 299}},
        {"detector": {"name": "nanodet", "resize": "stretch"}},
        {"detector": coco},
        {"detector": {**coco, "boxes": str(other)}},
        {"score_threshold": 0.36},
        {"nms_iou": 0.51},
        {"max_boxes": 51},
        {"frame_stride": 5},
        {"classes": ("person",)},
    ]
    keys = [artifact_key(Detect(**variant), {}) for variant in variants]
    assert len(set(keys)) == len(keys)
    assert artifact_key(Detect(detector="nanodet"), {}) == keys[0]


def test_the_place_of_the_file_is_not_in_the_key(coco: Any, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.json"
    moved.write_bytes(Path(coco["boxes"]).read_bytes())
    here, there = Detect(detector=coco), Detect(detector={**coco, "boxes": str(moved)})
    assert artifact_key(here, {}) == artifact_key(there, {})
    assert list(parameters_of(here)["detector"]["boxes"]) == ["sha256"]
    # What a child process is sent does hold the place.
    assert Detect.model_validate(here.model_dump(mode="json")) == here


@pytest.mark.parametrize("detector", ["nanodet", "precomputed"])
def test_unknown_class_names_the_nearest(coco: Any, detector: str) -> None:
    known = {"nanodet": "person", "precomputed": "thing"}[detector]
    chosen: Any = coco if detector == "precomputed" else detector
    with pytest.raises(ValueError, match=rf"knows no class '{known}s'; did you mean '{known}'\?"):
        Detect(detector=chosen, classes=(f"{known}s",))
