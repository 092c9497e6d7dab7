"""The stage: what is kept of a detector's boxes, keys, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import PrivateAttr

from pipeline.keys import artifact_key, parameters_of
from pipeline.stage import Context
from stages.detect.detect import Detect, select, suppress
from stages.detect.detector import Detections, Detector, LookUp
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

CLIPS = Path(__file__).parents[3] / "assets" / "clips"


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


CASES: list[tuple[dict[str, Any], list[tuple[str, float]]]] = [
    ({}, [("cat", 0.9), ("dog", 0.7)]),
    ({"score_threshold": 0.2}, [("cat", 0.9), ("dog", 0.7), ("cat", 0.2)]),
    ({"nms_iou": 1.0}, [("cat", 0.9), ("cat", 0.8), ("dog", 0.7)]),
    ({"classes": ("dog",)}, [("dog", 0.7)]),
    ({"classes": ("cow",)}, []),
    ({"max_boxes": 1}, [("cat", 0.9)]),
    ({"score_threshold": 0.95}, []),
]
RULES: dict[str, Any] = {
    "score_threshold": 0.3, "nms_iou": 0.5, "max_boxes": 9, "classes": None,
}  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_select(changes: dict[str, Any], expected: list[tuple[str, float]]) -> None:
    kept = select(RAW, height=40, width=80, **(RULES | changes))
    assert [(n, round(float(s), 4)) for n, s in zip(kept.labels, kept.scores, strict=True)] == (
        expected
    )
    assert kept.xyxy.shape == (len(expected), 4)
    if expected:
        assert kept.xyxy[0].tolist() == [0, 0, 10, 10]  # clipped


class Fixed(LookUp, version=1):
    """Finds the same in every frame."""

    def look_up(self, frames: Frames, indices: Sequence[int]) -> list[Detections]:
        return [RAW] * len(indices)


@pytest.mark.parametrize("changes", [case[0] for case in CASES])
def test_the_stage_keeps_what_its_parameters_say(make_frames: Any, changes: dict[str, Any]) -> None:
    expected = next(expected for given, expected in CASES if given == changes)
    stage = Detect(detector=Fixed(), **(RULES | changes))
    boxes = stage.process(frames=make_frames(num_frames=5, size=(40, 80)))
    assert boxes.frame.tolist() == [0] * len(expected) + [4] * len(expected)
    assert list(boxes.label or ()) == [name for name, _ in expected] * 2


def test_order_of_equal_scores_is_that_of_the_detector() -> None:
    raw = detections([([0, 0, 5, 5], 0.5, "a"), ([10, 0, 15, 5], 0.5, "b")])
    kept = select(
        raw, height=40, width=80, score_threshold=0, nms_iou=0.5, max_boxes=9, classes=None
    )
    assert list(kept.labels) == ["a", "b"]


def test_suppress_is_greedy_by_class() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4]], np.float32)
    # The third overlaps the second (2/3), which is itself suppressed (.6) and cannot act.
    assert suppress(xyxy, np.array(["a", "a", "a"]), iou_threshold=0.5, limit=9).tolist() == [0, 2]
    assert suppress(xyxy, np.array(["a", "b", "a"]), iou_threshold=0.3, limit=9).tolist() == [0, 1]
    assert suppress(xyxy, np.array(["a", "a", "a"]), iou_threshold=0.5, limit=1).tolist() == [0]
    assert suppress(xyxy[:0], np.array([]), iou_threshold=0.5, limit=9).tolist() == []


def one_box_a_frame(path: Path, num_frames: int) -> dict[str, Any]:
    """Precomputed boxes: box i of frame i."""
    content = {
        "images": [{"id": t, "file_name": f"a.mp4/{t}.jpg"} for t in range(num_frames)],
        "annotations": [
            {"image_id": t, "category_id": 1, "bbox": [t, 1, 5, 5]} for t in range(num_frames)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    path.write_text(json.dumps(content))
    return {"name": "precomputed", "boxes": str(path)}


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Any]:
    return one_box_a_frame(tmp_path / "boxes.json", 12)


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
    make_frames: Any, tmp_path: Path, num_frames: int, stride: int, frames: Sequence[int]
) -> None:
    coco = one_box_a_frame(tmp_path / "boxes.json", num_frames)
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
        {"tiles": {"rows": 2}},
        {"tiles": {"columns": 2}},
        {"tiles": {"overlap": 0.3}},
        {"detector": "hog"},
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


class Recorder(Detector, version=1):
    """Finds the bright rectangle of a frame; keeps what it is told about the machine."""

    _told: list[Any] = PrivateAttr(default_factory=list)

    def detect(
        self, images_NHWC: NDArray[np.uint8], *, threads: int = 1, device: str = "auto"
    ) -> list[Detections]:
        self._told.append((images_NHWC.shape[:3], threads, device))
        found = []
        for image in images_NHWC:
            rows, columns = np.nonzero(image[..., 0] > 127)
            boxes = []
            if len(rows):
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes.append((box, 0.5, "thing"))
            found.append(detections(boxes))
        return found


def test_the_machine_is_that_of_the_context(make_frames: Any, tmp_path: Path) -> None:
    frames = make_frames(num_frames=40, size=(48, 64))
    detector = Recorder()
    stage = Detect(detector=detector, frame_stride=2)
    stage.process(frames=frames, ctx=Context(work=tmp_path, threads=3, device="cuda:1"))
    stage.process(frames=frames)
    chosen, default = (3, "cuda:1"), (1, "auto")
    assert detector._told == [
        ((size, 48, 64), *machine) for machine in (chosen, default) for size in (16, 4)
    ]


def test_tiles_find_what_a_seam_cuts_once(make_frames: Any) -> None:
    pixels = np.zeros((3, 96, 128, 3), np.uint8)
    for t in range(3):
        pixels[t, 40:56, 48 + 8 * t : 64 + 8 * t] = 255  # tiles overlap in 32..64 and 43..85
    frames = make_frames(frames=pixels)
    detector = Recorder()
    tiles = {"rows": 2, "columns": 2, "overlap": 0.5}
    boxes = Detect(detector=detector, tiles=tiles, frame_stride=1).process(frames=frames)
    assert [size for size, _, _ in detector._told] == [(3, 96, 128)] + [(3, 64, 86)] * 4
    assert boxes.frame.tolist() == [0, 1, 2]
    expected = [[48 + 8 * t, 40, 64 + 8 * t, 56] for t in range(3)]
    np.testing.assert_allclose(boxes.xyxy, expected, atol=1)  # JPEG


def test_tiles_find_small_people(make_frames: Any) -> None:
    """The walker of a real clip in the corner of a frame six times as large."""
    capture = cv2.VideoCapture(str(CLIPS / "walker_a.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 80)
    image = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    height, width = image.shape[:2]
    large = np.full((1, 4 * height, 4 * width, 3), 128, np.uint8)
    large[0, -height:, -width:] = image
    frames = make_frames(frames=large)
    found = [
        Detect(classes=("person",), tiles=tiles).process(frames=frames)
        for tiles in ({}, {"rows": 3, "columns": 3})
    ]
    assert [len(one) for one in found] == [0, 2]
    # Two people walk in this frame, the woman on the lawn and a man behind.
    for expected in ([266, 128, 321, 227], [139, 23, 168, 111]):
        person = np.array(expected) + np.array([3 * width, 3 * height] * 2)
        assert np.abs(found[1].xyxy - person).max(axis=1).min() <= 12
