"""Boxes from a file: which frame an image is, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.keys import artifact_key
from stages.detect.detect import Detect
from stages.detect.detectors.precomputed import Precomputed
from storage_schemas.boxes import Boxes
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


def test_boxes_are_found_by_video_and_stored_frame(tmp_path: Path, make_frames: Any) -> None:
    found = detector(tmp_path).look_up(make_frames(A_VIDEO), [0, 2, 3, 7])
    assert [len(one.labels) for one in found] == [0, 2, 0, 0]
    assert found[1].xyxy.tolist() == [[5, 6, 15, 18], [0.5, 0, 4.5, 4.25]]
    assert found[1].scores.tolist() == [0.5, 1]
    assert found[1].labels == ["thing", "dog"]
    assert detector(tmp_path).classes() == ["thing", "dog"]


def test_boxes_of_images_of_another_size(tmp_path: Path, make_frames: Any) -> None:
    """Computed on the original frames, which are twice and three times the stored ones."""
    images = [image | {"width": 128, "height": 144} for image in CONTENT["images"]]
    found = detector(tmp_path, CONTENT | {"images": images}).look_up(make_frames(A_VIDEO), [2])
    assert found[0].xyxy[0].tolist() == [2.5, 2, 7.5, 6]


def test_through_the_stage(tmp_path: Path, make_frames: Any) -> None:
    stage = Detect(detector=detector(tmp_path), frame_stride=2)
    boxes = stage.process(frames=make_frames(A_VIDEO))
    assert boxes.frame.tolist() == [2, 2]
    assert list(boxes.label or ()) == ["dog", "thing"]  # by falling score
    assert list(stage.process(frames=make_frames("b.mp4")).label or ()) == ["dog"]


def test_a_video_that_the_file_does_not_name_is_rejected(tmp_path: Path, make_frames: Any) -> None:
    """Names that do not match must not look like videos without objects."""
    with pytest.raises(BadVideo, match=r"no image of this video; name .* mean 'sub dir/a\.mp4'"):
        detector(tmp_path).look_up(make_frames("sub/a.mp4"), [0])
    with pytest.raises(BadVideo, match=r"this video; name it 'clip', and give .* from 'abc'"):
        ava(tmp_path).look_up(make_frames("clip.mkv"), [0])


def test_frames_that_the_video_has_not_are_told(tmp_path: Path, make_frames: Any) -> None:
    with pytest.raises(BadVideo, match="names frame 7, the video has 5 stored frames; count"):
        detector(tmp_path).look_up(make_frames(A_VIDEO, num_frames=5), [0])


def test_boxes_between_the_frames_looked_at_are_told(tmp_path: Path, make_frames: Any) -> None:
    with pytest.raises(BadVideo, match=r"boxes in frames 2, none of which .* set frame_stride=1"):
        Detect(detector=detector(tmp_path), frame_stride=4).process(frames=make_frames(A_VIDEO))


def test_tiles_of_looked_up_boxes_have_no_meaning(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reads no pixels, so tiles of 1 x 2 have no meaning"):
        Detect(detector=detector(tmp_path), tiles={"columns": 2})


def ava(folder: Path, **parameters: Any) -> Precomputed:
    path = folder / "ava.csv"
    path.write_text("abc,900.2,0.25,0.5,0.75,1,,0.75\nabc,0901\n")
    return Precomputed(boxes=path, **parameters)


@pytest.mark.parametrize("video_id", ["abc.mp4", "films/abc.mkv"])
def test_ava_by_time(tmp_path: Path, make_frames: Any, video_id: str) -> None:
    """900.2 s of the film are 0.2 s of the clip cut at minute 15: stored frame 5 of 25 fps."""
    stage = Detect(detector=ava(tmp_path, start_seconds=900), frame_stride=1)
    boxes = stage.process(frames=make_frames(video_id))
    assert boxes.frame.tolist() == [5]
    assert boxes.xyxy.tolist() == [[16, 24, 48, 48]]
    assert list(boxes.label or ()) == ["person"]


def test_ava_of_another_clock_is_told(tmp_path: Path, make_frames: Any) -> None:
    with pytest.raises(
        BadVideo, match=r"times 900\.2 to 901 s, the video lasts from 0 to 0\.44 s .* set start_sec"
    ):
        ava(tmp_path).look_up(make_frames("abc.mp4"), [0])


def test_detections_of_ours_come_back(tmp_path: Path, make_frames: Any) -> None:
    frames = make_frames(A_VIDEO)
    first = Detect(detector=detector(tmp_path), frame_stride=1).process(frames=frames)
    Boxes.write_part(tmp_path, {A_VIDEO: first.to_tables()})
    again = Detect(
        detector=Precomputed(boxes=tmp_path / "boxes.arrow"),
        frame_stride=1, score_threshold=0, nms_iou=1,
    ).process(frames=frames)  # fmt: skip
    assert again.to_tables()["boxes"].equals(first.to_tables()["boxes"])


def test_detections_of_larger_frames_are_told(tmp_path: Path, make_frames: Any) -> None:
    large = make_frames(A_VIDEO, size=(96, 128))
    first = Detect(detector=moved(tmp_path), frame_stride=1).process(frames=large)
    Boxes.write_part(tmp_path, {A_VIDEO: first.to_tables()})
    again = Precomputed(boxes=tmp_path / "boxes.arrow")
    assert len(again.look_up(large, [2])[0].labels) == 1
    with pytest.raises(BadVideo, match="boxes that leave the frame of 64 x 48, so they are of fr"):
        again.look_up(make_frames(A_VIDEO), [2])


def moved(folder: Path) -> Precomputed:
    """A box outside of 64 x 48 pixels and inside of 128 x 96."""
    annotations = [{"image_id": 1, "category_id": 3, "bbox": [90, 60, 8, 8]}]
    return detector(folder, CONTENT | {"annotations": annotations})


def test_every_parameter_is_in_the_key(tmp_path: Path) -> None:
    keys = {
        artifact_key(Detect(detector=one), {})
        for one in (
            ava(tmp_path), ava(tmp_path, start_seconds=1), ava(tmp_path, csv_rows="annotations"),
            detector(tmp_path),
        )
    }  # fmt: skip
    assert len(keys) == 4


def test_a_table_of_another_noun_is_told_at_construction(tmp_path: Path) -> None:
    one = Boxes(video_id="a.mp4", num_frames=1, height=4, width=4)
    Boxes.write_part(tmp_path, {"a.mp4": one.to_tables()})
    with pytest.raises(ValueError, match=r"videos\.arrow holds 'boxes\.videos', expected"):
        Precomputed(boxes=tmp_path / "videos.arrow")


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
