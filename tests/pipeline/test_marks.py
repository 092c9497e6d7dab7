from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.ink import WHITE, contrast, palette
from pipeline.marks import Mark, box_marks, draw_marks
from storage_schemas.boxes import Boxes, encode_mask

GREY = np.full((60, 100, 3), 90, np.uint8)


def is_colour(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == colour).all(-1)


@pytest.mark.parametrize("scale", [1.0, 2.0, 5.0, 0.5])
def test_a_box_is_drawn_within_its_bounds_at_any_scale(scale: float) -> None:
    out = draw_marks(GREY, [Mark(colour=4, xyxy=np.array([10, 20, 50, 44]))], scale=scale)
    assert out.shape == (60 * scale, 100 * scale, 3)
    x1, y1, x2, y2 = (round(v * scale) for v in (10, 20, 50, 44))
    border = np.zeros(out.shape[:2], bool)
    border[y1:y2, x1:x2] = True
    border[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = False
    assert is_colour(out, palette(4))[border].all()
    changed = (out != 90).any(-1)
    changed[y1:y2, x1:x2] = False
    assert not changed.any()
    inside = out[y1:y2, x1:x2]
    assert is_colour(inside, contrast(palette(4))).any()  # the second line, for any background
    assert (inside[len(inside) // 2, inside.shape[1] // 2] == 90).all()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (99, 59, 100, 60), (0, 0, 100, 60)])
def test_boxes_of_any_size_are_seen(box: tuple[int, ...]) -> None:
    out = draw_marks(GREY, [Mark(colour=1, xyxy=np.array(box))], scale=0.3)
    assert is_colour(out, palette(1)).any()


def test_a_mask_is_tinted_and_outlined() -> None:
    mask = np.zeros((60, 100), bool)
    mask[20:40, 30:60] = True
    out = draw_marks(GREY, [Mark(colour=2, mask_HW=mask)], scale=2.0)
    assert is_colour(out, palette(2))[40, 60:120].all()
    inside = out[60, 90].astype(float)
    np.testing.assert_allclose(inside, 0.65 * 90 + 0.35 * np.array(palette(2)), atol=1)
    assert (out[:36] == 90).all()


def test_borders_run_between_regions() -> None:
    regions = np.zeros((60, 100), int)
    regions[:, 50:] = 10_001
    out = draw_marks(GREY, [Mark(regions_HW=regions)])
    assert np.flatnonzero(is_colour(out, WHITE).all(0)).tolist() == [49]
    assert (out[:, 48] < 40).all()  # darkened beside the line, to be seen on white
    assert (out[:, 52:] == 90).all()


def test_the_frame_is_left_alone() -> None:
    frame = GREY.copy()
    draw_marks(frame, [Mark(xyxy=np.array([1, 1, 9, 9]), text="a")])
    assert (frame == 90).all()


def test_labels_hide_neither_each_other_nor_leave_the_picture() -> None:
    boxes = [(30, 30, 60, 58), (32, 31, 62, 59), (0, 0, 20, 20), (85, 40, 100, 60)]
    marks = [Mark(colour=i, xyxy=np.array(b), text=f"tube {i}") for i, b in enumerate(boxes)]
    together = draw_marks(GREY, marks, scale=4)
    for i, mark in enumerate(marks):
        alone = draw_marks(GREY, [mark], scale=4)
        plates = [is_colour(picture, palette(i)).sum() for picture in (together, alone)]
        lines = is_colour(draw_marks(GREY, [Mark(colour=i, xyxy=mark.xyxy)], scale=4), palette(i))
        assert plates[1] > lines.sum() + 200
        assert plates[0] > lines.sum() / 2 + 200


def tubes() -> Boxes:
    mask = np.zeros((60, 100), bool)
    mask[5:9, 5:9] = True
    return Boxes(
        video_id="a.mp4", num_frames=9, height=60, width=100,
        frame=np.array([0, 3, 3], np.int32),
        xyxy=np.array([[5, 5, 9, 9]] * 3, np.float32),
        track=np.array([4, 4, 11], np.int32),
        mask_runs=[encode_mask(mask)] * 3,
    )  # fmt: skip


def test_tubes_keep_number_and_colour() -> None:
    boxes = tubes()
    (first,) = box_marks(boxes, 0)
    again, other = box_marks(boxes, 3)
    assert (first.text, first.colour) == (again.text, again.colour) == ("4", 4)
    assert (other.text, other.colour) == ("11", 11)
    assert first.mask_HW is not None
    assert first.mask_HW.sum() == 16
    assert box_marks(boxes, 5) == []


def test_a_tube_that_is_only_carried_on_is_faint() -> None:
    boxes = replace(tubes(), score=np.array([0.9, 0.0, 0.9], np.float32))
    assert [mark.faint for t in (0, 3) for mark in box_marks(boxes, t)] == [False, True, False]
    shown, faint = (draw_marks(GREY, box_marks(boxes, t)[:1], scale=4) for t in (0, 3))
    assert 10 < is_colour(faint, palette(4)).sum() < is_colour(shown, palette(4)).sum()


def test_detections_have_a_colour_a_class_and_say_their_score() -> None:
    boxes = Boxes(
        video_id="a.mp4", num_frames=9, height=60, width=100,
        frame=np.array([0, 2, 2], np.int32),
        xyxy=np.array([[5, 5, 9, 9]] * 3, np.float32),
        score=np.array([0.5, 0.874, 0.9], np.float32),
        label=["cat", "dog", "dog"],
    )  # fmt: skip
    assert [(m.text, m.colour) for m in box_marks(boxes, 2)] == [("dog 0.87", 0), ("dog 0.90", 0)]
    assert [(m.text, m.colour) for m in box_marks(boxes, 0)] == [("cat 0.50", 1)]


def test_proposals_are_told_apart_by_colour_only() -> None:
    xyxy = np.array([[5, 5, 9, 9]] * 3, np.float32)
    boxes = Boxes("a.mp4", 2, 60, 100, frame=np.zeros(3, np.int32), xyxy=xyxy)
    assert [(m.text, m.colour) for m in box_marks(boxes, 0)] == [("", 0), ("", 1), ("", 2)]
