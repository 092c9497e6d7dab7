"""Variants of stored videos: exact pixels, looped donors, frames without masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.evaluate.backgrounds.masked_video import MaskedVideo, VariantVideo
from stages.evaluate.backgrounds.variants import MIXED, without_box
from stages.evaluate.clips import EvaluationViews
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.errors import SchemaError
from storage_schemas.frames import Frames

Make = Callable[..., Any]


def masks_of(length: int, height: int, width: int) -> NDArray[np.bool_]:
    masks_THW = np.zeros((length, height, width), np.bool_)
    for t in range(length):
        masks_THW[t, 3 : 9 + t, 2 * t : 2 * t + 7] = True
    return masks_THW


def boxes_of(frames: Frames, masks_THW: NDArray[np.bool_], tracks: int = 1) -> Boxes:
    """Masks of all frames but empty ones; split into stripes where there are several tracks."""
    rows = [
        (t, masks_THW[t] & (np.arange(frames.width) % tracks == k))
        for t in range(len(frames))
        for k in range(tracks)
        if masks_THW[t].any()
    ]
    return Boxes(
        video_id=frames.video_id,
        num_frames=len(frames),
        height=frames.height,
        width=frames.width,
        frame=np.array([t for t, _ in rows], np.int32),
        xyxy=np.tile(np.float32([0, 0, 1, 1]), (len(rows), 1)),
        mask_runs=[encode_mask(mask) for _, mask in rows],
    )


def masked(
    make_frames: Make, length: int = 6, size: tuple[int, int] = (24, 32), seed: int = 0
) -> MaskedVideo:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (length, *size, 3), np.uint8)
    frames = make_frames(f"{seed}.avi", frames=pixels)
    return MaskedVideo(frames, boxes_of(frames, masks_of(length, *size)))


def test_foreground_and_background_of_a_stored_video_add_up(make_frames: Make) -> None:
    video = masked(make_frames)
    at = np.array([0, 3, 5])
    parts = [VariantVideo(name, video).decode(at) for name in ("Only-FG", "No-FG")]
    np.testing.assert_array_equal(parts[0] + parts[1], video.frames.decode(at))


@pytest.mark.parametrize("variant", MIXED)
def test_a_short_donor_loops(make_frames: Make, variant: Any) -> None:
    video, donor = masked(make_frames), masked(make_frames, length=4, seed=1)
    at = np.arange(6)
    found = VariantVideo(variant, video, donor).decode(at)
    looped = np.array([0, 1, 2, 3, 0, 1])
    background = without_box(donor.frames.decode(looped), masks_of(4, 24, 32)[looped], tiles=True)
    inside = masks_of(6, 24, 32)
    np.testing.assert_array_equal(found[~inside], background[~inside])
    np.testing.assert_array_equal(found[inside], video.frames.decode(at)[inside])


@pytest.mark.parametrize("variant", ["Only-BG-B", "Only-BG-T", "Mixed-Rand"])
def test_a_box_around_all_frames_stands_still(make_frames: Make, variant: Any) -> None:
    video, donor = masked(make_frames), masked(make_frames, seed=1)
    at = np.arange(6)
    found = VariantVideo(variant, video, donor, box="video").decode(at)
    swept = np.repeat(masks_of(6, 24, 32).any(0)[None], 6, axis=0)
    source = donor if variant == "Mixed-Rand" else video
    expected = without_box(source.frames.decode(at), swept, tiles=variant != "Only-BG-B")
    outside = ~masks_of(6, 24, 32) if variant == "Mixed-Rand" else np.ones_like(swept)
    np.testing.assert_array_equal(found[outside], expected[outside])


def test_a_donor_of_another_size_is_resized(make_frames: Make) -> None:
    video, donor = masked(make_frames), masked(make_frames, size=(48, 80), seed=1)
    found = VariantVideo("Mixed-Rand", video, donor)
    assert found.decode(np.array([2])).shape == (1, found.height, found.width, 3)


def test_frames_without_a_mask_are_left_out(make_frames: Make) -> None:
    """Of a donor they would show its actor."""
    frames = masked(make_frames).frames
    masks_THW = masks_of(6, 24, 32)
    masks_THW[[2, 5]] = False
    video = MaskedVideo(frames, boxes_of(frames, masks_THW))
    assert len(video) == len(VariantVideo("Original", video)) == 4
    np.testing.assert_array_equal(
        VariantVideo("Original", video).decode(np.arange(4)), frames.decode([0, 1, 3, 4])
    )


def test_masks_of_one_frame_are_joined(make_frames: Make) -> None:
    frames = masked(make_frames).frames
    video = MaskedVideo(frames, boxes_of(frames, masks_of(6, 24, 32), tracks=3))
    np.testing.assert_array_equal(video.decode_masks(np.arange(6)), masks_of(6, 24, 32))


def test_views_are_cut_as_of_any_video(make_frames: Make) -> None:
    video, donor = masked(make_frames), masked(make_frames, seed=1)
    views = EvaluationViews(num_clips=2, num_frames=4, size=32)
    original = views.cut(VariantVideo("Original", video))
    np.testing.assert_array_equal(original, views.cut(video.frames))
    assert views.cut(VariantVideo("Mixed-Same", video, donor)).shape == original.shape


def test_masks_of_other_frames_are_refused(make_frames: Make) -> None:
    video = masked(make_frames)
    shrunk = masked(make_frames, size=(12, 16)).frames
    with pytest.raises(SchemaError, match=r"6 frames of 32x24.*without shard.short_side"):
        MaskedVideo(shrunk, video.masks)
    with pytest.raises(SchemaError, match="no frame has a mask"):
        MaskedVideo(video.frames, boxes_of(video.frames, np.zeros((6, 24, 32), np.bool_)))
