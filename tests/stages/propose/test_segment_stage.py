"""What all proposal stages share, on a stage whose segments are known exactly."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.keys import artifact_key
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.segment_stage import SegmentStage
from stages.propose.slic import Slic


class Blocks(SegmentStage, name="blocks", version=1):
    """Two maps: quarters of the frame, and one square of 20 x 20 in a frame of 80 x 80."""

    def segment(self, frame_HWC: np.ndarray, shrink: float) -> list[np.ndarray]:
        height, width = frame_HWC.shape[:2]
        y, x = np.mgrid[0:height, 0:width]
        quarters = 2 * (2 * y >= height) + (2 * x >= width)
        square = (abs(y - 30 * shrink) < 10 * shrink) & (abs(x - 40 * shrink) < 10 * shrink)
        return [quarters.astype(np.int32), square.astype(np.int32)]


@pytest.fixture
def frames(make_frames: Callable[..., Any]) -> Any:
    return make_frames(frames=np.full((9, 80, 80, 3), 90, np.uint8))


QUARTERS = [[0, 0, 40, 40], [40, 0, 80, 40], [0, 40, 40, 80], [40, 40, 80, 80]]


def test_regions_of_two_maps_share_one_numbering(frames: Any) -> None:
    boxes = Blocks(short_side=None, frame_stride=20, max_side=1).process(frames=frames)
    assert boxes.region is not None
    assert (boxes.region // 2).tolist() == [0, 1, 2, 3, 0, 1]  # number in its map
    assert (boxes.region % 2).tolist() == [0, 0, 0, 0, 1, 1]  # which map
    assert boxes.xyxy.tolist() == [*QUARTERS, [0, 0, 80, 80], [31, 21, 50, 40]]


def test_bounds_filter_and_do_not_renumber(frames: Any) -> None:
    boxes = Blocks(short_side=None, frame_stride=20).process(frames=frames)
    assert boxes.region is not None
    assert boxes.region.tolist() == [0, 2, 4, 6, 3]
    small = Blocks(short_side=None, frame_stride=20, max_side=0.3).process(frames=frames)
    assert small.xyxy.tolist() == [[31, 21, 50, 40]]
    none = Blocks(short_side=None, frame_stride=20, max_side=0.3, min_side=0.25)
    assert len(none.process(frames=frames)) == 0


def test_the_cap_keeps_the_largest_of_each_frame(frames: Any) -> None:
    boxes = Blocks(short_side=None, frame_stride=8, max_boxes=4).process(frames=frames)
    assert boxes.frame.tolist() == [0] * 4 + [8] * 4
    assert boxes.xyxy.tolist() == QUARTERS * 2


class Listed(list[bytes]):
    """Images that remember which of them were asked for."""

    def __init__(self, images: Any) -> None:
        super().__init__(images)
        self.seen: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        self.seen.append(int(index))
        return super().__getitem__(index)


@pytest.mark.parametrize("stride", [1, 4, 8, 9])
def test_only_strided_frames_are_decoded(frames: Any, stride: int) -> None:
    images = Listed(frames.jpegs)
    boxes = Blocks(frame_stride=stride).process(frames=replace(frames, jpegs=images))
    assert images.seen == list(range(0, 9, stride))
    assert np.unique(boxes.frame).tolist() == images.seen
    assert boxes.frame.dtype == np.int32


@pytest.mark.parametrize("short_side", [17, 20, 24, 40, 60])
def test_the_codec_shrinks_as_far_as_it_can_and_never_too_far(
    make_frames: Callable[..., Any], short_side: int
) -> None:
    """What the codec shrinks and what is averaged from the whole frame look alike."""
    rows, columns = np.mgrid[:161, :203]
    image = np.stack([rows, columns, rows + columns], axis=-1) * 255 // 400
    frames = make_frames(frames=image.astype(np.uint8)[None])
    shown: list[np.ndarray] = []

    class Seen(Blocks, name="seen", version=1):
        def segment(self, frame_HWC: Any, shrink: float) -> Any:
            shown.append(frame_HWC)
            return super().segment(frame_HWC, shrink)

    stage = Seen(short_side=short_side)
    stage.frame_maps(frames, 0)
    stage.label_maps(frames.decode([0])[0])
    by_codec, averaged = shown
    assert by_codec.shape == averaged.shape == (short_side, round(203 * short_side / 161), 3)
    # The codec rounds sizes up: a fifth of a small pixel, which is 12 grey levels here.
    assert np.abs(by_codec.astype(int) - averaged).mean() < 3


@pytest.mark.parametrize(("short_side", "side"), [(40, 40), (20, 20), (80, 80), (200, 80)])
def test_frames_are_shrunk_never_enlarged_and_boxes_are_of_the_stored_frame(
    frames: Any, short_side: int, side: int
) -> None:
    stage = Blocks(short_side=short_side, frame_stride=20)
    assert stage.label_maps(frames.decode([0])[0])[0].shape == (side, side)
    boxes = stage.process(frames=frames).xyxy
    assert boxes[:4].tolist() == QUARTERS
    assert np.abs(boxes[4] - [30, 20, 50, 40]).max() <= 80 / side


def test_odd_sizes_shrink_both_sides_and_boxes_stay_inside(make_frames: Callable[..., Any]) -> None:
    frames = make_frames(frames=np.zeros((1, 97, 131, 3), np.uint8))
    boxes = Blocks(short_side=37, max_side=1).process(frames=frames)
    assert boxes.xyxy[:, 2].max() == 131
    assert boxes.xyxy[:, 3].max() == 97


def test_no_regions_at_all_are_an_empty_answer_with_a_picture(frames: Any) -> None:
    stage = Blocks(max_side=0.1)
    boxes = stage.process(frames=frames)
    assert (len(boxes), boxes.num_frames) == (0, len(frames))
    assert stage.preview(boxes, frames=frames).shape[2] == 3
    assert len(type(boxes).from_tables(boxes.video_id, boxes.to_tables())) == 0


def test_marks_are_the_borders_of_the_first_map_and_the_boxes(
    make_frames: Callable[..., Any],
) -> None:
    frames = make_frames(frames=np.full((9, 96, 128, 3), 30, np.uint8))
    stage = Blocks(frame_stride=2, short_side=48, max_side=0.6)
    boxes = stage.process(frames=frames)
    segments, *marks = stage.marks(2, boxes, frames)
    np.testing.assert_array_equal(segments.regions_HW, stage.frame_maps(frames, 2)[0])
    rows = boxes.in_frame(2)
    assert len(marks) == rows.stop - rows.start > 0


@pytest.mark.parametrize("stage", [Slic, Felzenszwalb])
def test_bounds_out_of_order_are_refused(stage: type[SegmentStage]) -> None:
    with pytest.raises(ValidationError, match=r"min_side and max_side are 0\.8 and 0\.7"):
        stage(min_side=0.8)


EVERY = [
    stage(backend=backend, short_side=side)  # type: ignore[arg-type]
    for stage, backends in (
        (Slic, ("numpy", "skimage", "opencv")),
        (Felzenszwalb, ("skimage", "opencv")),
    )
    for backend in backends
    for side in (None, 60)
]
IDS = [f"{stage.name}-{stage.backend}-{stage.short_side}" for stage in EVERY]


def test_back_ends_and_sizes_have_keys_of_their_own() -> None:
    assert len({artifact_key(stage, {}) for stage in EVERY}) == len(EVERY)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (2, 3), (17, 233), (61, 83)], ids=str)
@pytest.mark.parametrize("stage", EVERY, ids=IDS)
def test_any_size_gives_an_answer_and_a_picture(
    stage: SegmentStage, size: tuple[int, int], make_frames: Callable[..., Any]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    for pixels in (noise, np.full_like(noise, 77)):
        frames = make_frames(frames=pixels)
        boxes = stage.process(frames=frames)  # `Boxes` refuses what leaves the frame
        assert stage.label_maps(pixels[0])[0].min() >= 0
        assert stage.preview(boxes, frames=frames).ndim == 3


def digest_of_everything(video: np.ndarray) -> str:
    """Of the boxes of every stage and back-end."""
    from storage_schemas.frames import Frames, Probe
    from storage_schemas.jpeg import encode_png

    frames = Frames(
        video_id="a.mp4",
        jpegs=[encode_png(frame) for frame in video],
        pts_seconds=np.arange(len(video)) / 25,
        source_frames=np.arange(len(video), dtype=np.int32),
        height=video.shape[1],
        width=video.shape[2],
        probe=Probe(),
    )
    found = hashlib.sha256()
    for stage in EVERY:
        boxes = stage.process(frames=frames)
        assert len(boxes) > 0
        assert boxes.region is not None
        found.update(boxes.xyxy.tobytes() + boxes.region.tobytes() + boxes.frame.tobytes())
    return found.hexdigest()


@pytest.fixture
def _threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


CHILD = """
import sys
import numpy as np
from test_segment_stage import digest_of_everything
print(digest_of_everything(np.load(sys.argv[1])))
"""


@pytest.mark.usefixtures("_threads")
def test_threads_and_processes_change_nothing(video: np.ndarray, tmp_path: Any) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    found = set()
    for count in (1, 2, 5):
        cv2.setNumThreads(count)
        with threadpoolctl.threadpool_limits(count):
            found.add(digest_of_everything(video))
    path = tmp_path / "video.npy"
    np.save(path, video)
    folder = os.path.dirname(__file__)
    environment = os.environ | {
        "OMP_NUM_THREADS": "3",
        "OPENCV_FOR_THREADS_NUM": "3",
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join([folder, *sys.path]),
    }
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {child.stdout.strip()} == found
