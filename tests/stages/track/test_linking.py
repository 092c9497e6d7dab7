from __future__ import annotations

import numpy as np

from stages.track.flow import Motion
from stages.track.foreground import Regions
from stages.track.linking import assign, carry, link, share_out
from stages.track.tube import Patch, Tube

HEIGHT, WIDTH = 40, 120
Box = tuple[int, int, int, int]  # x, y, width, height


def square(x: int, y: int = 10, side: int = 12) -> Box:
    return x, y, side, side


def linked(
    boxes_T: list[list[Box]],
    *,
    speed: float = 2,
    cuts: tuple[int, ...] = (),
    **more: float,
) -> list[Tube]:
    """Link boxes in a picture that moves to the right as a whole."""
    count = len(boxes_T)
    labels = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    for t, boxes in enumerate(boxes_T):
        for number, (x, y, width, height) in enumerate(boxes, start=1):
            labels[t, y : y + height, max(0, x) : x + width] = number
    strength = [np.array([0] + [1.0] * len(boxes), np.float32) for boxes in boxes_T]
    flow = np.zeros((count, HEIGHT // 2, WIDTH // 2, 2), np.float32)
    flow[..., 0] = -speed
    small = np.zeros(flow.shape[:3], np.uint8)
    cut_T = np.zeros(count, np.bool_)
    cut_T[[0, *cuts]] = True
    camera = np.tile(np.eye(3), (count, 1, 1))
    motion = Motion(flow, small.astype(np.float32), small, small, camera, cut_T)
    settings = {"min_iou": 0.2, "max_gap": 5, "min_length": 3, **more}
    return link(Regions(labels, strength), motion, **settings)  # type: ignore[arg-type]


def test_assignment_is_the_best_for_all_and_not_for_the_first() -> None:
    assert assign(np.array([[0.6, 0.5], [0.5, 0.0]]), min_iou=0.1) == {0: 1, 1: 0}
    # Summed IoU is highest for the two slight overlaps, neither of which holds.
    assert assign(np.array([[0.5, 0.29], [0.29, 0.0]]), min_iou=0.3) == {0: 0}
    assert assign(np.zeros((0, 2)), min_iou=0.3) == {}


def test_a_mask_is_carried_along_its_flow() -> None:
    flow = np.zeros((HEIGHT // 2, WIDTH // 2, 2), np.float32)
    flow[..., 0], flow[..., 1] = -7, 3
    patch = Patch(20, 15, np.ones((8, 10), np.bool_))
    assert carry(patch, flow, (HEIGHT, WIDTH)).xyxy == (27, 12, 37, 20)
    flow[..., 0] = 500
    assert carry(patch, flow, (HEIGHT, WIDTH)).area == 0


def test_a_fast_object_is_followed_along_its_flow() -> None:
    steps = [[square(2 + 9 * t)] for t in range(6)]
    (tube,) = linked(steps, speed=9)
    assert sorted(tube.patches) == list(range(6))
    assert min(tube.scores.values()) > 0.95
    assert len(linked(steps, speed=-9)) == 6


def test_a_short_gap_is_bridged_and_its_frames_are_not_confirmed() -> None:
    boxes = [[square(10 + 2 * t)] if t not in (3, 4) else [] for t in range(8)]
    (tube,) = linked(boxes)
    assert sorted(tube.patches) == list(range(8))
    assert tube.patches[4].xyxy == (18, 10, 30, 22)
    assert [t for t, score in sorted(tube.scores.items()) if score == 0] == [3, 4]


def test_a_longer_gap_is_bridged_by_nothing_but_the_same_object() -> None:
    boxes = [[square(10 + 2 * t)] if t < 3 or t > 6 else [] for t in range(12)]
    (tube,) = linked(boxes)
    assert sorted(tube.patches) == [0, 1, 2, 7, 8, 9, 10, 11]
    first, second = linked(boxes, max_gap=3)
    assert max(first.patches) == 2
    assert min(second.patches) == 7


def test_no_tube_crosses_a_cut() -> None:
    first, second = linked([[square(10 + 2 * t)] for t in range(8)], cuts=(4,))
    assert (max(first.patches), min(second.patches)) == (3, 4)


def test_two_objects_that_meet_in_one_region_share_it_out() -> None:
    apart = [[square(10), square(40)]] * 5
    together = [[(10, 10, 42, 12)]] * 4
    tubes = linked(apart + together + apart, speed=0)
    assert len(tubes) == 2
    left, right = sorted(tubes, key=lambda tube: tube.patches[0].left)
    assert left.patches[7].xyxy == (10, 10, 31, 22)
    assert right.patches[7].xyxy == (31, 10, 52, 22)
    assert sorted(left.patches) == sorted(right.patches) == list(range(14))


def test_a_part_that_was_alone_for_a_moment_goes_up_in_the_whole() -> None:
    whole, parts = [[(10, 10, 30, 20)]], [[(10, 10, 18, 20), (30, 10, 10, 20)]]
    tubes = linked(whole * 4 + parts * 2 + whole * 4, speed=0)
    (tube,) = [tube for tube in tubes if len(tube.patches) > 3]
    assert sorted(tube.patches) == list(range(10))
    assert tube.patches[9].xyxy == (10, 10, 40, 30)


def test_a_small_part_stays_with_its_object_and_a_large_one_does_not() -> None:
    whole = [[(10, 10, 30, 20)]]
    (tube,) = linked(whole * 4 + [[(10, 10, 22, 20), (34, 10, 6, 20)]], speed=0)
    assert tube.patches[4].xyxy == (10, 10, 40, 30)
    tubes = linked(whole * 4 + [[(10, 10, 16, 20), (28, 10, 12, 20)]], speed=0)
    assert sorted(len(tube.patches) for tube in tubes) == [1, 5]


def test_a_region_that_is_far_larger_is_another_thing() -> None:
    large = [[(10, 10, 20, 20)]] * 4 + [[(0, 0, 40, 36)]] * 4  # IoU 0.28
    first, second = linked(large, speed=0)
    assert max(first.strengths) == 3
    assert sorted(second.strengths) == [4, 5, 6, 7]
    (tube,) = linked([[(10, 10, 20, 20)]] * 4 + [[(10, 10, 36, 24)]] * 4, speed=0)
    assert len(tube.strengths) == 8


def test_pixels_go_to_the_nearest_mask() -> None:
    region = np.ones((4, 10), np.bool_)
    masks = [Patch(0, 0, np.ones((4, 2), np.bool_)), Patch(8, 0, np.ones((4, 2), np.bool_))]
    one, other = share_out(region, masks)
    assert one[:, :5].all()
    assert other[:, 5:].all()
    assert not (one & other).any()
