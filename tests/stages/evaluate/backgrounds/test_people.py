"""No-FG: which boxes are filled, with which colour, and what is tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.stage import Context
from stages.evaluate.backgrounds.people import FilledVideo, NoForeground, filled
from storage_schemas.boxes import Boxes
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed

FRAME = np.zeros((6, 8, 3), np.uint8)
FRAME[:3] = (200, 100, 50)  # the upper half; the mean is half of it


def test_the_mean_is_the_frame_s_before_anything_is_filled() -> None:
    boxes = np.float32([[0, 0, 4, 3], [4, 0, 8, 2]])
    out = filled(FRAME, boxes, "mean")
    assert (out[:3, :4] == (100, 50, 25)).all()
    assert (out[:2, 4:] == (100, 50, 25)).all()
    np.testing.assert_array_equal(out[2:, 4:], FRAME[2:, 4:])


def test_every_pixel_that_a_box_touches_is_filled() -> None:
    out = filled(FRAME, np.float32([[1.9, 0.5, 3.1, 1.5]]), "black")
    changed = (out != FRAME).any(-1)
    assert np.argwhere(changed).min(0).tolist() == [0, 1]
    assert np.argwhere(changed).max(0).tolist() == [1, 3]
    assert (out[changed] == 0).all()


def test_nobody_there_leaves_the_frame() -> None:
    np.testing.assert_array_equal(filled(FRAME, np.zeros((0, 4), np.float32), "mean"), FRAME)


def test_boxes_of_a_low_score_stay(make_frames: Callable[..., Any]) -> None:
    frames = make_frames(num_frames=3)
    boxes = Boxes(
        video_id=frames.video_id, num_frames=3, height=48, width=64,
        frame=np.array([0, 0, 2], np.int32),
        xyxy=np.float32([[0, 0, 8, 8], [20, 20, 40, 40], [0, 0, 64, 48]]),
        score=np.float32([0.3, 0.29, 0.9]),
    )  # fmt: skip
    video = FilledVideo(frames, boxes, 0.3, "black")
    out, before = video.decode(np.array([2, 0, 1])), frames.decode([2, 0, 1])
    assert (out[0] == 0).all()
    assert (out[1, :8, :8] == 0).all()
    np.testing.assert_array_equal(out[1, 8:], before[1, 8:])
    np.testing.assert_array_equal(out[2], before[2])
    assert (len(video), video.height, video.width) == (3, 48, 64)


def test_a_set_without_boxes_is_told(
    tiny_encoder: Any, colours: dict[str, Any], tmp_path: Path
) -> None:
    classifier = ClassifierFiles(**vars(tiny_encoder), classes=["blue", "red"])
    with pytest.raises(StageFailed, match="none of 8 test videos has boxes"):
        NoForeground().run(
            classifier=classifier,
            boxes={},
            ctx=Context(work=tmp_path),
            **colours,  # type: ignore[arg-type]
        )
