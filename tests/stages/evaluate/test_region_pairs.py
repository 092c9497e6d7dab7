"""Pairs of views: boxes lie on their objects, wherever crops and flips put them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.evaluate.region_pairs import RegionPairs, identities
from stages.learning.box_iou import box_iou
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError
from storage_schemas.shards import Shard

PAIRS = RegionPairs(num_frames=4, frame_stride=2, size=48)
RED, BLUE = (250, 20, 20), (20, 20, 250)


def painted(video_id: str, make_frames: Any, *, length: int = 24, blue_side: int = 8) -> Any:
    """A large red and a small blue square over grey, and their boxes as tracks 3 and 5."""
    frames = np.full((length, 60, 80, 3), 120, np.uint8)
    rows = []
    for t in range(length):
        for track, colour, x, y, side in (
            (3, RED, 10 + t, 20, 14),
            (5, BLUE, 60 - t, 42, blue_side),
        ):
            frames[t, y : y + side, x : x + side] = colour
            rows.append((t, track, x, y, x + side, y + side))
    table = np.array(rows)
    boxes = Boxes(
        video_id=video_id,
        num_frames=length,
        height=60,
        width=80,
        frame=table[:, 0].astype(np.int32),
        xyxy=table[:, 2:].astype(np.float32),
        track=table[:, 1].astype(np.int32),
    )
    return make_frames(video_id, frames=frames, kind=Shard), boxes


@pytest.mark.parametrize("number", range(6))
def test_boxes_lie_on_the_objects(number: int, make_frames: Any) -> None:
    video, boxes = painted(f"{number}.mp4", make_frames)
    pair = PAIRS.pair(video, boxes)
    assert pair is not None
    assert set(pair.names) <= {"3", "5"}
    views = pair.cut(video)
    assert views.shape == (2, 4, 48, 48, 3)
    seen = [(0, pair.query_4, pair.names[0])]
    seen += [(1, pair.offers_M4[i], name) for i, name in enumerate(pair.names)]
    for view, box_4, name in seen:
        middle = views[view, 2]
        np.testing.assert_array_equal(middle, pair.middle(video, view))
        x1, y1, x2, y2 = np.round(box_4).astype(int)
        centre = middle[(y1 + y2) // 2, (x1 + x2) // 2].astype(int)
        assert np.abs(centre - {"3": RED, "5": BLUE}[name]).max() < 60
    assert pair.indices_2T[0, 0] == 0
    assert pair.indices_2T[1, -1] >= len(video) - 2


def test_the_object_is_the_one_that_is_large_in_both_views(make_frames: Any) -> None:
    whole = RegionPairs(num_frames=4, frame_stride=2, size=48, area=(1, 1))
    for side, name in ((8, "3"), (17, "5")):
        pair = whole.pair(*painted("a.mp4", make_frames, blue_side=side))
        assert pair is not None
        assert pair.names[0] == name
        assert len(pair.names) == 2


def test_other_places_have_the_size_of_the_object_and_do_not_cover_it(make_frames: Any) -> None:
    video, boxes = painted("a.mp4", make_frames)
    pair = PAIRS.pair(video, boxes)
    assert pair is not None
    elsewhere_K4 = pair.offers_M4[len(pair.names) :]
    assert len(pair.offers_M4) == 8
    side_2 = pair.offers_M4[0, 2:] - pair.offers_M4[0, :2]
    np.testing.assert_allclose(
        elsewhere_K4[:, 2:] - elsewhere_K4[:, :2],
        np.tile(side_2, (len(elsewhere_K4), 1)),
        rtol=1e-5,
    )
    assert elsewhere_K4.min() >= 0
    assert elsewhere_K4.max() <= 48
    overlap = box_iou(torch.from_numpy(elsewhere_K4), torch.from_numpy(pair.offers_M4[0]))
    assert float(overlap.max()) < PAIRS.max_overlap


def test_pairs_are_a_video_s_own_and_the_seed_s(make_frames: Any) -> None:
    (video, boxes), (other, its) = (painted(v, make_frames) for v in ("a.mp4", "b.mp4"))
    crops = [
        one.crops
        for one in (
            PAIRS.pair(video, boxes),
            PAIRS.pair(video, boxes),
            PAIRS.pair(other, its),
            PAIRS.model_copy(update={"seed": 1}).pair(video, boxes),
        )
        if one is not None
    ]
    assert crops[0] == crops[1]
    assert len({*crops}) == 3


def test_a_video_without_two_views_or_objects_is_left_out(make_frames: Any) -> None:
    short, boxes = painted("a.mp4", make_frames, length=5)
    assert PAIRS.pair(short, boxes) is None
    video, boxes = painted("a.mp4", make_frames)
    none = Boxes(video_id="a.mp4", num_frames=24, height=60, width=80)
    assert PAIRS.pair(video, none) is None
    large = RegionPairs(num_frames=4, frame_stride=2, size=48, min_side=0.6)
    assert large.pair(video, boxes) is None
    with pytest.raises(ParameterError, match="boxes were made for 5 frames, the shard has 24"):
        PAIRS.pair(video, painted("a.mp4", make_frames, length=5)[1])


def boxes_of(**columns: Any) -> Boxes:
    count = 4
    return Boxes(
        video_id="a",
        num_frames=1,
        height=9,
        width=9,
        frame=np.zeros(count, np.int32),
        xyxy=np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
        **columns,
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"track": np.array([7, 2, 9, 4], np.int32)}, ["7", "2", "9", "4"]),
        (
            {"label": ["dog", "cat", "dog", "cow"], "score": np.array([0.2, 0.9, 0.8, 0.1], "f4")},
            ["", "cat", "dog", "cow"],
        ),
        ({"label": ["dog", "cat", "dog", "cow"]}, ["dog", "cat", "", "cow"]),
        ({"score": np.array([0.2, 0.9, 0.8, 0.1], "f4")}, ["", "object", "", ""]),
    ],
)
def test_what_tells_objects_apart(columns: dict[str, Any], expected: list[str]) -> None:
    assert identities(boxes_of(**columns), slice(0, 4)) == expected
