"""Boxes from a file: which frame an image is, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.detect.detect import Detect
from stages.detect.detectors.precomputed import Precomputed
from storage_schemas.errors import BadVideo

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "sub dir/a.mp4/000002.jpg"},
        {"id": 2, "video_id": "b.mp4", "frame": 0, "file_name": "anything.png"},
        {"id": 3, "file_name": "sub dir/a.mp4/7.jpg"},
    ],
    "categories": [{"id": 7, "name": "thing"}, {"id": 3, "name": "dog"}],
    "annotations": [
        {"image_id": 1, "category_id": 7, "bbox": [5, 6, 10, 12], "score": 0.5},
        {"image_id": 1, "category_id": 3, "bbox": [0.5, 0, 4, 4.25]},
        {"image_id": 2, "category_id": 3, "bbox": [0, 0, 4, 4]},
    ],
}
A_VIDEO = "sub dir/a.mp4"


def detector(folder: Path, content: Any = CONTENT) -> Precomputed:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Precomputed(boxes=path)


def test_boxes_are_found_by_video_and_stored_frame(tmp_path: Path) -> None:
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    found = detector(tmp_path).detect(frames, video_id=A_VIDEO, frame_indices=[0, 2, 3, 7])
    assert [len(one.labels) for one in found] == [0, 2, 0, 0]
    assert found[1].xyxy.tolist() == [[5, 6, 15, 18], [0.5, 0, 4.5, 4.25]]
    assert found[1].scores.tolist() == [0.5, 1]
    assert found[1].labels == ["thing", "dog"]
    assert detector(tmp_path).classes() == ["thing", "dog"]


def test_through_the_stage(tmp_path: Path, make_frames: Any) -> None:
    stage = Detect(detector=detector(tmp_path), frame_stride=2)
    boxes = stage.process(frames=make_frames(A_VIDEO))
    assert boxes.frame.tolist() == [2, 2]
    assert list(boxes.label or ()) == ["dog", "thing"]  # by falling score
    assert list(stage.process(frames=make_frames("b.mp4")).label or ()) == ["dog"]


def test_a_video_that_the_file_does_not_name_is_rejected(tmp_path: Path) -> None:
    """Names that do not match must not look like videos without objects."""
    with pytest.raises(BadVideo, match=r"no image of this video, .* names is 'sub dir/a\.mp4'"):
        detector(tmp_path).detect(
            np.zeros((1, 8, 8, 3), np.uint8), video_id="sub/a.mp4", frame_indices=[0]
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ([{"image_id": 1, "bbox": [0, 0, 1, 1]}], "TypeError"),  # a bare result list
        ({**CONTENT, "categories": []}, "KeyError 7"),
        ({**CONTENT, "images": CONTENT["images"][:1]}, "image_id 2 of an annotation"),
        ({**CONTENT, "images": [{"id": 1, "file_name": "a.mp4/first.jpg"}]}, "'first'"),
        (
            {**CONTENT, "images": [*CONTENT["images"], {"id": 9, "file_name": "b.mp4/00.jpg"}]},
            "two images are frame 0 of 'b.mp4'",
        ),
    ],
)
def test_a_wrong_file_is_told_at_construction(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match="is not COCO JSON with images") as error:
        detector(tmp_path, content)
    assert message in str(error.value)
