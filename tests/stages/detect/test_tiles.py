"""Tiles: what they cover, and that an object is found once wherever it lies."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from stages.detect.detect import select
from stages.detect.detector import Detections
from stages.detect.tiles import Tiles


def find_blobs(images_NHWC: NDArray[np.uint8]) -> list[Detections]:
    """An exact detector: bright connected blobs, sure of large ones only."""
    found = []
    for image in images_NHWC:
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))
        x, y, w, h, _ = stats[1:].T
        xyxy = np.stack([x, y, x + w, y + h], axis=1).astype(np.float32)
        scores = np.clip(w * h / 1000, 0.1, 0.9).astype(np.float32)
        found.append(Detections(xyxy, scores, ["blob"] * len(scores)))
    return found


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 2), (3, 5), (16, 16)])
@pytest.mark.parametrize("size", [(240, 427), (1080, 1920), (17, 23)])
def test_tiles_are_equal_and_cover_the_frame(
    size: tuple[int, int], rows: int, columns: int, overlap: float
) -> None:
    windows = Tiles(rows=rows, columns=columns, overlap=overlap).windows(*size)
    assert len(windows) == rows * columns
    assert len({(r.stop - r.start, c.stop - c.start) for r, c in windows}) == 1
    covered = np.zeros(size, int)
    for window in windows:
        covered[window] += 1
    assert covered.min() == 1
    high, wide = (w.stop - w.start for w in windows[0])
    for axis, side in ((0, high), (1, wide)):
        starts = sorted({window[axis].start for window in windows})
        shared = [a + side - b for a, b in itertools.pairwise(starts)]
        assert all(s >= overlap * side - 1 for s in shared)


def test_worked_tiles() -> None:
    windows = Tiles(rows=1, columns=2, overlap=0.2).windows(100, 180)
    assert windows == [(slice(0, 100), slice(0, 100)), (slice(0, 100), slice(80, 180))]
    assert Tiles().windows(100, 180) == []


@pytest.mark.parametrize("top", range(0, 85, 3))
def test_an_object_is_found_once_wherever_it_lies(top: int) -> None:
    """Also where a seam cuts it: tiles end at 60 and begin at 40 of 100 rows."""
    image = np.zeros((100, 100, 3), np.uint8)
    expected = []
    for left in (3, 37, 70):
        image[top : top + 15, left : left + 12] = 255
        expected.append([left, top, left + 12, top + 15])
    tiles = Tiles(rows=2, columns=2, overlap=1 / 3)
    assert {(r.start, r.stop) for r, _ in tiles.windows(100, 100)} == {(0, 60), (40, 100)}
    raw = tiles.detect(image[None], find_blobs)[0]
    # Without the whole frame: what fits into the overlap is whole in some tile.
    in_tiles = {tuple(box) for box in raw.xyxy[3:].tolist()}
    assert in_tiles == {tuple(box) for box in expected}
    kept = select(
        raw, height=100, width=100, score_threshold=0, nms_iou=0.5, max_boxes=99, classes=None
    )
    assert sorted(kept.xyxy.tolist()) == expected


def test_what_is_larger_than_a_tile_is_found_by_the_whole_frame() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[5:95, 20:90] = 255
    raw = Tiles(rows=2, columns=2).detect(image[None], find_blobs)[0]
    assert raw.xyxy.tolist() == [[20, 5, 90, 95]]


def test_frames_do_not_mix() -> None:
    images = np.zeros((3, 64, 64, 3), np.uint8)
    for t in range(3):
        images[t, 5:15, 5 + 20 * t : 12 + 20 * t] = 255
    found = Tiles(rows=2, columns=2).detect(images, find_blobs)
    for t, one in enumerate(found):
        assert {tuple(b) for b in one.xyxy.tolist()} == {(5 + 20 * t, 5, 12 + 20 * t, 15)}
        assert len(one.labels) == len(one.scores) == len(one.xyxy)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"columns": 17}, {"overlap": 0.6}, {"x": 1}])
def test_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Tiles.model_validate(wrong)
