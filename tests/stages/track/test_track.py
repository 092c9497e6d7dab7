from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.scenes import Scene, SceneSpec, render
from benchmarks.tubes import Quality, accumulate, decode, measure, split_truth, summarise
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

CLIPS = Path(__file__).parents[3] / "assets" / "clips"


@cache
def scene_of(seed: int, **options: Any) -> Scene:
    return render(SceneSpec(**{"seed": seed, "height": 120, "width": 160, **options}))


@cache
def clip_of(name: str, count: int = 100) -> Frames:
    """The beginning of a real clip."""
    frames = decode(CLIPS / f"{name}.mp4", 128)
    return replace(
        frames,
        jpegs=frames.jpegs[:count],
        pts_seconds=frames.pts_seconds[:count],
        source_frames=frames.source_frames[:count],
    )


@cache
def tubes_of(seed: int, **options: Any) -> Boxes:
    return Track().process(frames=scene_of(seed, **options).frames())


def quality(seed: int, **options: Any) -> Quality:
    return measure(tubes_of(seed, **options), scene_of(seed, **options))


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({}, 0.7),
        ({"objects": 2}, 0.7),
        ({"objects": 4}, 0.7),
        ({"camera": "pan"}, 0.7),
        ({"camera": "zoom"}, 0.7),
        ({"camera": "shake"}, 0.7),
        ({"objects": 2, "camera": "pan"}, 0.6),
        ({"objects": 3, "camera": "shake"}, 0.7),
        ({"contrast": 0.35}, 0.7),
        ({"contrast": 0.35, "camera": "pan"}, 0.7),
        ({"brightness": 0.3, "noise": 10.0}, 0.6),
        ({"num_frames": 24}, 0.7),
    ],
    ids=str,
)
def test_moving_objects_are_tubes_that_fit(options: dict[str, Any], least: float) -> None:
    found = quality(21, **options)
    assert min(found.mask_iou, found.box_iou) >= least
    assert found.valid_precision >= 0.95
    assert found.valid_recall >= 0.8
    assert found.tubes == found.objects


def test_an_object_keeps_its_identity_while_it_is_hidden() -> None:
    scene, boxes = scene_of(21, occlusion=True), tubes_of(21, occlusion=True)
    idf1, _, switches = summarise([accumulate(boxes, *split_truth(scene))])
    assert quality(21, occlusion=True).tubes == 1
    assert switches == 0
    assert idf1 > 0.9
    hidden = np.flatnonzero(scene.visibility_KT[0] == 0)
    assert np.isin(hidden, boxes.frame).mean() < 0.3
    alone = Track(max_hidden=0).process(frames=scene.frames())
    assert len(np.unique(alone.track)) > 1


def test_an_object_is_the_same_after_a_long_absence() -> None:
    options = {"occlusion": True, "absence": 40, "num_frames": 100}
    assert quality(21, **options).tubes == 1
    assert quality(21, **options).mask_iou > 0.7


def test_objects_come_and_go() -> None:
    scene, boxes = scene_of(21, entering=True, objects=2), tubes_of(21, entering=True, objects=2)
    assert quality(21, entering=True, objects=2).mask_iou > 0.7
    away = np.flatnonzero((scene.visibility_KT == 0).all(axis=0))
    assert len(away) >= 4
    assert not np.isin(away, boxes.frame).any()


@pytest.mark.parametrize("seed", [8, 22])
@pytest.mark.parametrize(("when", "rest"), [("stopping", (24, 46)), ("starting", (0, 26))])
def test_an_object_at_rest_is_in_the_tube_of_its_motion(
    seed: int, when: str, rest: tuple[int, int]
) -> None:
    scene, boxes = scene_of(seed, **{when: True}), tubes_of(seed, **{when: True})
    for t in range(*rest):
        truth = scene.masks_KTHW[0, t]
        rows = range(len(boxes))[boxes.in_frame(int(t))]
        overlap = [(boxes.mask(r) & truth).sum() / (boxes.mask(r) | truth).sum() for r in rows]
        assert max(overlap, default=0) > 0.5
    assert len(np.unique(boxes.track)) == 1


def test_no_tube_crosses_a_cut() -> None:
    boxes = tubes_of(21, cut=True)
    assert boxes.track is not None
    sides = {int(track): set(boxes.frame[boxes.track == track] >= 30) for track in boxes.track}
    assert all(len(side) == 1 for side in sides.values())
    assert {True, False} == set.union(*sides.values())
    assert quality(21, cut=True).mask_iou > 0.7


def test_black_bars_are_no_part_of_the_picture() -> None:
    options = {"letterbox": 0.15, "camera": "pan"}
    boxes = tubes_of(21, **options)
    assert quality(21, **options).mask_iou > 0.7
    assert boxes.xyxy[:, 1].min() >= 17
    assert boxes.xyxy[:, 3].max() <= 103


@pytest.mark.parametrize("camera", ["none", "pan", "zoom", "shake"])
def test_a_still_scene_has_no_tubes_whatever_the_camera_does(camera: str) -> None:
    boxes = tubes_of(21, objects=0, camera=camera, noise=4.0)
    assert len(boxes) == 0
    assert boxes.num_frames == 60


def test_valid_frames_are_those_that_show_the_object_themselves() -> None:
    boxes = tubes_of(21)
    assert boxes.score is not None
    assert boxes.score.min() >= 0
    assert boxes.score.max() <= 1
    assert len(boxes.valid_frames(0)) > 50
    assert len(boxes.valid_frames(0, min_score=0.999)) < len(boxes.valid_frames(0))
    assert len(boxes.valid_frames(0, min_pixels=120 * 160)) == 0


def test_tubes_are_in_pixels_of_the_stored_frame() -> None:
    options = {"height": 181, "width": 243, "num_frames": 30}
    boxes = Track(working_side=96).process(frames=scene_of(21, **options).frames())
    assert (boxes.height, boxes.width) == (181, 243)
    assert measure(boxes, scene_of(21, **options)).mask_iou > 0.5


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_frames_give_no_tubes(make_frames: Callable[..., Any], count: int) -> None:
    frames = make_frames(frames=scene_of(21).frames_THWC[:count])
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


def test_windows_bound_the_frames_that_are_looked_at_together() -> None:
    frames = scene_of(21).frames()
    boxes = Track(window=30).process(frames=frames)
    assert boxes.track is not None
    assert set(boxes.frame[boxes.track == 0]) <= set(range(30))
    assert set(boxes.frame[boxes.track == 1]) <= set(range(30, 60))
    assert len(np.unique(boxes.track)) == 2


@pytest.mark.parametrize("clip", [None, "gymnast_cam03"])
def test_tubes_depend_on_nothing_but_the_frames(clip: str | None) -> None:
    frames = clip_of(clip) if clip else scene_of(21, camera="shake").frames()
    threads = cv2.getNumThreads()
    tables = []
    try:
        for count in (1, 3):
            cv2.setNumThreads(count)
            cv2.setRNGSeed(count)
            tables.append(Track().process(frames=frames).to_tables()["boxes"])
    finally:
        cv2.setNumThreads(threads)
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("clip", ["city", "tree_hand", "plant", "dog"])
def test_real_views_in_which_little_moves_give_few_tubes(clip: str) -> None:
    boxes = Track().process(frames=clip_of(clip))
    assert boxes.track is None or len(np.unique(boxes.track)) <= 2


@pytest.mark.parametrize("clip", ["cup", "gymnast_cam03", "walker_b"])
def test_real_moving_things_are_found_for_most_of_the_clip(clip: str) -> None:
    frames = clip_of(clip, 1000)
    boxes = Track().process(frames=frames)
    assert boxes.track is not None
    longest = max(len(boxes.valid_frames(int(track))) for track in np.unique(boxes.track))
    assert longest > 0.6 * len(frames)


def test_a_preview_shows_the_mask() -> None:
    scene, boxes = scene_of(21), tubes_of(21)
    frames = scene.frames()
    empty = Boxes(boxes.video_id, len(frames), frames.height, frames.width)
    shown, bare = Track().preview(boxes, frames=frames), Track().preview(empty, frames=frames)
    tinted = (shown[: len(bare)] != bare).any(axis=-1)  # bare has no time line
    assert tinted[20:].mean() > 0.03
