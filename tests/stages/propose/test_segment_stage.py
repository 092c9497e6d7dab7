from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.propose.segment_stage import propose

NOTHING = (np.zeros(0, np.int32), np.zeros((0, 4), np.float32))


def test_frames_without_regions_are_skipped(make_frames: Callable[..., Any]) -> None:
    two = (np.array([4, 9], np.int32), np.array([[0, 0, 5, 5], [1, 2, 3, 4]], np.float32))
    boxes = propose(make_frames(), {0: NOTHING, 4: two, 8: two})
    assert boxes.frame.tolist() == [4, 4, 8, 8]
    assert boxes.region is not None
    assert boxes.region.tolist() == [4, 9, 4, 9]
    assert boxes.in_frame(0) == slice(0, 0)


def test_no_regions_at_all_are_an_empty_answer(
    make_frames: Callable[..., Any],
) -> None:
    frames = make_frames()
    boxes = propose(frames, {0: NOTHING})
    assert (len(boxes), boxes.num_frames) == (0, len(frames))
    assert len(type(boxes).from_tables(boxes.video_id, boxes.to_tables())) == 0
