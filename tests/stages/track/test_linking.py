from __future__ import annotations

import numpy as np

from stages.track.flow import Motion
from stages.track.linking import Mask, Tube, assign, link

HEIGHT, WIDTH = 40, 100


def square(x: int, y: int = 10, side: int = 12) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[y : y + side, max(0, x) : x + side] = True
    return mask


def linked(
    masks: list[list[Mask]],
    *,
    speed: float = 2,
    cuts: tuple[int, ...] = (),
    strength: float = 3,
    **more: float,
) -> list[Tube]:
    """Link masks in a picture that moves to the right as a whole."""
    count = len(masks)
    flow = np.zeros((2, count, HEIGHT, WIDTH, 2), np.float32)
    flow[0, ..., 0], flow[1, ..., 0] = speed, -speed
    cut_T = np.zeros(count, np.bool_)
    cut_T[[0, *cuts]] = True
    evidence = np.zeros((count, HEIGHT, WIDTH), np.float32)
    for t, found in enumerate(masks):
        for mask in found:
            evidence[t][mask] = strength
    motion = Motion(flow[0], flow[1], evidence, evidence, evidence > 0, cut_T)
    settings = {
        "min_iou": 0.2,
        "max_gap": 3,
        "min_length": 3,
        "min_score": 0.0,
        "max_tubes": 8,
        **more,
    }
    return link(masks, evidence, motion, **settings)  # type: ignore[arg-type]


def test_assignment_is_the_best_for_all_and_not_for_the_first() -> None:
    old, new = [square(10), square(16)], [square(13), square(8)]
    # The nearest to both is the first; only the crossing keeps both.
    assert assign(old, new, min_iou=0.1) == {0: 1, 1: 0}


def test_a_refused_pair_displaces_none_that_holds() -> None:
    # Summed IoU is highest for the two slight overlaps, neither of which holds.
    old, new = [square(20), square(60)], [square(20, side=9), square(60, side=3)]
    pairs = assign(old, new, min_iou=0.3)
    assert pairs == {0: 0}
    assert assign([], new, min_iou=0.3) == assign(old, [], min_iou=0.3) == {}


def test_a_fast_object_is_followed_along_its_flow() -> None:
    steps = [[square(2 + 8 * t)] for t in range(6)]
    (tube,) = linked(steps, speed=8)
    assert sorted(tube.masks) == list(range(6))
    assert linked(steps, speed=-8) == []


def test_a_gap_is_filled_where_the_object_was_carried() -> None:
    masks = [[square(10 + 2 * t)] if t not in (3, 4) else [] for t in range(8)]
    (tube,) = linked(masks)
    assert sorted(tube.masks) == list(range(8))
    np.testing.assert_array_equal(tube.masks[4], square(18))


def test_a_longer_gap_ends_the_tube_and_adds_nothing_to_its_end() -> None:
    masks = [[square(10 + 2 * t)] if t < 3 or t > 6 else [] for t in range(12)]
    first, second = linked(masks)
    assert sorted(first.masks) == [0, 1, 2]
    assert sorted(second.masks) == [7, 8, 9, 10, 11]


def test_no_tube_crosses_a_cut() -> None:
    first, second = linked([[square(10 + 2 * t)] for t in range(8)], cuts=(4,))
    assert (max(first.masks), min(second.masks)) == (3, 4)


def test_short_and_weak_tubes_are_dropped() -> None:
    masks = [[square(10 + 2 * t)] for t in range(5)]
    assert len(linked(masks, min_length=5)) == 1
    assert linked(masks, min_length=6) == []
    assert linked(masks, strength=1.1, min_score=0.4) == []


def test_the_best_tubes_stay_in_order_of_their_beginning() -> None:
    masks = [[square(10 + 2 * t), square(60 + 2 * t, 25)] for t in range(8)]
    masks[0] = masks[0][1:]
    short = [*masks[:4], [masks[4][0]], [masks[5][0]], [masks[6][0]], [masks[7][0]]]
    both = linked(short)
    assert [(min(tube.masks), len(tube.masks)) for tube in both] == [(0, 4), (1, 7)]
    (best,) = linked(short, max_tubes=1)
    assert min(best.masks) == 1
    assert both[0].score == 1.0
