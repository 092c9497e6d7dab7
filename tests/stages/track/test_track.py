from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from stages.track.track import Track
from storage_schemas.boxes import Boxes


def overlap(boxes: Boxes, masks: np.ndarray) -> tuple[float, float]:
    """Mean box and mask IoU over all frames of the tube that fits best."""
    best = (0.0, 0.0)
    for track in [] if boxes.track is None else np.unique(boxes.track):
        per_frame = np.zeros((len(masks), 2))
        for row in np.flatnonzero(boxes.track == track):
            truth, found = masks[boxes.frame[row]], boxes.mask(int(row))
            ys, xs = np.nonzero(truth)
            area = np.zeros((2, *truth.shape), np.bool_)
            area[0, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
            x1, y1, x2, y2 = boxes.xyxy[row].astype(int)
            area[1, y1:y2, x1:x2] = True
            per_frame[boxes.frame[row]] = iou(*area), iou(truth, found)
        box, mask = per_frame.mean(axis=0)
        best = max(best, (float(box), float(mask)))
    return best


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({}, 0.88),
        ({"radius": 30}, 0.90),
        ({"radius": 10}, 0.80),
        ({"velocity": (0.7, 0.2)}, 0.85),
        ({"velocity": (5, 1)}, 0.80),
        ({"pan": (1.5, 0.5)}, 0.82),
        ({"pan": (4, 1)}, 0.75),
        ({"zoom": 0.01}, 0.82),
        ({"noise": 8}, 0.85),
        ({"rest": range(6, 10)}, 0.88),
        ({"plain": True}, 0.45),  # a halo of 4 pixels on a wall is not disproved
        ({"plain": True, "velocity": (0.7, 0.2)}, 0.6),
    ],
    ids=str,
)
def test_a_moving_disc_is_one_tube_that_fits(
    scene: Callable[..., Any],
    make_frames: Callable[..., Any],
    options: dict[str, Any],
    least: float,
) -> None:
    images, masks = scene(seed=1, **options)
    boxes = Track().process(frames=make_frames(frames=images))
    box, mask = overlap(boxes, masks)
    assert boxes.track is not None
    assert len(np.unique(boxes.track)) == 1
    assert min(box, mask) >= least


def test_two_discs_are_two_tubes(
    scene: Callable[..., Any], make_frames: Callable[..., Any]
) -> None:
    images, left = scene(radius=14, velocity=(0, 2))
    other, right = scene(seed=4, radius=14, velocity=(0, -2))
    images = np.concatenate([images, other], axis=2)  # each half is a scene of its own
    boxes = Track().process(frames=make_frames(frames=images))
    assert len(np.unique(boxes.track)) == 2
    blank = np.zeros_like(left)
    for truth in (np.concatenate([left, blank], 2), np.concatenate([blank, right], 2)):
        assert min(overlap(boxes, truth)) > 0.75


def test_tubes_are_in_pixels_of_the_stored_frame(
    scene: Callable[..., Any], make_frames: Callable[..., Any]
) -> None:
    images, masks = scene(size=(181, 243), radius=30)
    boxes = Track(working_side=96).process(frames=make_frames(frames=images))
    assert (boxes.height, boxes.width) == (181, 243)
    assert min(overlap(boxes, masks)) > 0.8


@pytest.mark.parametrize("camera", [{}, {"pan": (2, 1)}, {"zoom": 0.01}], ids=str)
def test_a_still_scene_has_no_tubes_whatever_the_camera_does(
    scene: Callable[..., Any], make_frames: Callable[..., Any], camera: dict[str, Any]
) -> None:
    images, _ = scene(radius=1, velocity=(0, 0), noise=4, **camera)
    boxes = Track().process(frames=make_frames(frames=images))
    assert len(boxes) == 0
    assert boxes.num_frames == len(images)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_frames_give_no_tubes(
    scene: Callable[..., Any], make_frames: Callable[..., Any], count: int
) -> None:
    frames = make_frames(frames=scene(num_frames=count)[0])
    boxes = Track().process(frames=frames)
    assert len(boxes) == 0
    assert Track().preview(boxes, frames=frames).ndim == 3


@pytest.mark.parametrize("size", [(4, 90), (33, 17)])
def test_tiny_frames_are_looked_at_all_the_same(
    make_frames: Callable[..., Any], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, *size, 3), dtype=np.uint8)
    Track().process(frames=make_frames(frames=images))


def test_no_tube_crosses_a_cut(scene: Callable[..., Any], make_frames: Callable[..., Any]) -> None:
    first, second = scene(num_frames=12)[0], 255 - scene(seed=7, num_frames=12)[0]
    boxes = Track().process(frames=make_frames(frames=np.concatenate([first, second])))
    assert boxes.track is not None
    sides = {int(track): set(boxes.frame[boxes.track == track] >= 12) for track in boxes.track}
    assert all(len(side) == 1 for side in sides.values())
    assert {True, False} == set.union(*sides.values())


def test_windows_bound_the_frames_that_are_looked_at_together(
    scene: Callable[..., Any], make_frames: Callable[..., Any]
) -> None:
    frames = make_frames(frames=scene(num_frames=25)[0])
    boxes = Track(window=12).process(frames=frames)  # the last window has one frame
    assert boxes.track is not None
    assert set(boxes.frame[boxes.track == 0]) == set(range(12))
    assert set(boxes.frame[boxes.track == 1]) == set(range(12, 24))


def test_tubes_depend_on_nothing_but_the_frames(
    scene: Callable[..., Any], make_frames: Callable[..., Any]
) -> None:
    frames = make_frames(frames=scene(pan=(2, 0.5))[0])
    threads = cv2.getNumThreads()
    tables = []
    try:
        for count in (1, 2, 4):
            cv2.setNumThreads(count)
            cv2.setRNGSeed(count)
            tables.append(Track().process(frames=frames).to_tables()["boxes"])
    finally:
        cv2.setNumThreads(threads)
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_a_preview_shows_the_mask(
    scene: Callable[..., Any], make_frames: Callable[..., Any]
) -> None:
    frames = make_frames(frames=scene()[0])
    boxes = Track().process(frames=frames)
    empty = Boxes(boxes.video_id, len(frames), frames.height, frames.width)
    shown, bare = Track().preview(boxes, frames=frames), Track().preview(empty, frames=frames)
    tinted = (shown[: len(bare)] != bare).any(axis=-1)  # bare has no time line
    assert tinted[20:].mean() > 0.03
