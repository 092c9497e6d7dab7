"""Masks of generated videos, in the frames that were stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.stage import Context
from stages.sources.motion_shapes import Generated, MotionShapes
from stages.sources.shape_masks import ShapeMasks
from storage_schemas.dataset import Dataset
from storage_schemas.frames import Frames
from storage_schemas.videos import VideoFile

SHAPES = MotionShapes(
    num_classes=2, train_per_class=1, test_per_class=1, num_frames=6, size=32, num_objects=2
)


@pytest.fixture
def generated(tmp_path: Path) -> tuple[Dataset, VideoFile]:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "data").mkdir()
    SHAPES.run(ctx=Context(work=work)).write(tmp_path / "data")
    video_id = SHAPES.listing()[0].video_id
    video = VideoFile(video_id, "digest", 1)
    path = Generated().locate(video, tmp_path / "data")
    return Dataset.open(tmp_path / "data"), VideoFile(video_id, "digest", 1, path)


def frames_of(
    make_frames: Callable[..., Any], video: VideoFile, stored: list[int], side: int
) -> Frames:
    pixels = np.zeros((len(stored), side, side, 3), np.uint8)
    found = make_frames(video.video_id, frames=pixels)
    return Frames(**(vars(found) | {"source_frames": np.array(stored, np.int32)}))


def test_truth_of_all_frames(generated: Any, make_frames: Callable[..., Any]) -> None:
    dataset, video = generated
    truth = dataset.truth[video.video_id]
    found = ShapeMasks().process(
        videos=video, frames=frames_of(make_frames, video, list(range(6)), 32)
    )
    for name in ("frame", "xyxy", "track"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
    for row in range(len(truth)):
        np.testing.assert_array_equal(found.mask(row), truth.mask(row))


def test_some_frames_in_another_size(generated: Any, make_frames: Callable[..., Any]) -> None:
    dataset, video = generated
    truth = dataset.truth[video.video_id]
    found = ShapeMasks().process(videos=video, frames=frames_of(make_frames, video, [1, 4], 16))
    rows = np.flatnonzero(np.isin(truth.frame, [1, 4]))
    np.testing.assert_array_equal(found.frame, (truth.frame[rows] == 4).astype(int))
    np.testing.assert_array_equal(found.track, truth.track[rows])
    for row, source in enumerate(rows):
        np.testing.assert_array_equal(found.mask(row), truth.mask(int(source))[1::2, 1::2])
