"""Who gives the background: invariants of downstream.md section 10, and the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.evaluate.backgrounds.donors import ChooseDonors, choose_donors, variant_videos
from stages.evaluate.backgrounds.variants import MIXED, VARIANTS
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.errors import StageFailed
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

CLASSES = [f"class {i:02d}" for i in range(21)]
CLIPS = {f"{name}/{i}.avi": name for name in CLASSES for i in range(12)}


def test_classes_of_donors() -> None:
    rows = choose_donors(CLIPS, CLASSES, seed=0)
    assert Counter(row.variant for row in rows) == dict.fromkeys(MIXED, len(CLIPS))
    for row in rows:
        assert (CLIPS[row.video_id], CLIPS[row.donor]) == (row.label, row.donor_label)
        assert row.donor != row.video_id
        number, other = CLASSES.index(row.label), CLASSES.index(row.donor_label)
        if row.variant == "Mixed-Same":
            assert other == number
        if row.variant == "Mixed-Next":
            assert other == (number + 1) % 21


def test_a_random_class_tells_nothing() -> None:
    rows = [row for row in choose_donors(CLIPS, CLASSES, seed=0) if row.variant == "Mixed-Rand"]
    own = sum(row.label == row.donor_label for row in rows) / len(rows)
    assert own == pytest.approx(1 / 21, abs=0.04)
    counts = Counter(row.donor_label for row in rows)
    assert set(counts) == set(CLASSES)
    assert max(counts.values()) < 3 * len(rows) / 21


def test_the_seed_and_nothing_else_decides() -> None:
    rows = choose_donors(CLIPS, CLASSES, seed=0)
    assert rows == choose_donors(dict(reversed(CLIPS.items())), CLASSES, seed=0)
    other = choose_donors(CLIPS, CLASSES, seed=1)
    assert sum(a.donor != b.donor for a, b in zip(rows, other, strict=True)) > len(rows) / 2
    assert {row.seed for row in other} == {1}
    # Another clip of another class changes nobody who could not choose it.
    more = {**CLIPS, "class 05/new.avi": "class 05"}
    kept = {(row.variant, row.video_id): row.donor for row in choose_donors(more, CLASSES, seed=0)}
    for row in rows:
        if row.variant != "Mixed-Rand" and row.donor_label != "class 05":
            assert kept[row.variant, row.video_id] == row.donor


def test_a_class_that_has_nobody_to_give_is_named() -> None:
    with pytest.raises(StageFailed, match=r"Mixed-Same of 'b/1' needs another test video .*'b'"):
        choose_donors({"a/1": "a", "a/2": "a", "b/1": "b"}, ["a", "b"], seed=0)
    with pytest.raises(StageFailed, match=r"Mixed-Next of 'a/1' .* class 'b'"):
        choose_donors({"a/1": "a", "a/2": "a"}, ["a", "b"], seed=0)


@pytest.fixture
def world(tmp_path: Path, make_frames: Callable[..., Any]) -> dict[str, Any]:
    """Two classes of three test and two training videos; one test video has no mask."""
    shards, boxes, rows = {}, {}, []
    for i in range(10):
        name, video_id = "ab"[i % 2], f"{'ab'[i % 2]}/{i}.avi"
        frames = np.random.default_rng(i).integers(0, 256, (4, 24, 32, 3), np.uint8)
        shards[video_id] = make_frames(video_id, frames=frames, kind=Shard).to_tables()
        rows.append(LabelRow(video_id, name, "train" if i < 4 else "test"))
        mask = np.zeros((24, 32), np.bool_)
        mask[4:12, 8:20] = True
        count = 0 if i == 9 else 3
        boxes[video_id] = Boxes(
            video_id=video_id, num_frames=4, height=24, width=32,
            frame=np.arange(count, dtype=np.int32),
            xyxy=np.tile(np.float32([8, 4, 20, 12]), (count, 1)),
            mask_runs=[encode_mask(mask)] * count,
        ).to_tables()  # fmt: skip
    for kind, items, noun in (("s", shards, Shard), ("m", boxes, Boxes)):
        (tmp_path / kind).mkdir()
        noun.write_part(tmp_path / kind, items)
    return {
        "shards": Items(Shard, [tmp_path / "s"]),
        "masks": Items(Boxes, [tmp_path / "m"]),
        "labels": Labels(rows),
    }


def test_only_test_videos_with_masks_take_part(world: dict[str, Any]) -> None:
    found = ChooseDonors().run(**world)
    there = {f"{'ab'[i % 2]}/{i}.avi" for i in (4, 5, 6, 7, 8)}
    assert {row.video_id for row in found.rows} == there
    assert {row.donor for row in found.rows} <= there


@pytest.mark.parametrize("box", ["frame", "video"])
def test_the_manifest_says_which_box_is_taken_out(world: dict[str, Any], box: Any) -> None:
    donors = ChooseDonors(box=box).run(**world)
    assert {row.box for row in donors.rows} == {donors.box} == {box}
    variants = variant_videos(world["shards"], world["masks"], donors)
    assert {video.box for found in variants.values() for video in found.values()} == {box}


def test_the_picture_shows_all_variants_side_by_side(world: dict[str, Any]) -> None:
    stage = ChooseDonors()
    picture = stage.preview(stage.run(**world), **world)
    assert picture.shape[0] > 4 * 112, "four videos"
    assert picture.shape[1] > len(VARIANTS) * 112
