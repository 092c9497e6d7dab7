"""Frames: what is written is read, and only the frames asked for are decoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage_schemas import frames as module
from storage_schemas.errors import SchemaError
from storage_schemas.frames import Frames, Probe
from storage_schemas.jpeg import decode_jpeg


def stored(folder: Path, frames: Frames) -> Frames:
    Frames.write_part(folder, {frames.video_id: frames.to_tables()})
    return Frames.open_part(folder)[frames.video_id]


def test_round_trip(tmp_path: Path, make_frames: Any) -> None:
    probe = Probe("vp9", 480, 640, 90, 29.97, True, 13, 12, "partial")
    frames = replace(make_frames("ü #1.mp4", num_frames=5), probe=probe)
    read = stored(tmp_path, frames)
    assert list(read.jpegs) == list(frames.jpegs)
    assert read.pts_seconds.tolist() == frames.pts_seconds.tolist()
    assert read.source_frames.tolist() == frames.source_frames.tolist()
    assert (read.video_id, read.height, read.width) == ("ü #1.mp4", 48, 64)
    assert read.probe == probe
    assert (read.frames_THWC == frames.frames_THWC).all()
    assert repr(read) == "Frames('ü #1.mp4', T=5, 48x64)"


def test_only_the_frames_asked_for_are_decoded(
    tmp_path: Path, make_frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = stored(tmp_path, make_frames(num_frames=12))
    everything = read.frames_THWC
    decoded = []
    real = module.decode_jpeg
    monkeypatch.setattr(module, "decode_jpeg", lambda data: decoded.append(data) or real(data))
    clip = read.decode(np.array([7, 2, 7, 7, 0]))
    assert decoded == [read.jpegs[7], read.jpegs[2], read.jpegs[0]]
    assert (clip == everything[[7, 2, 7, 7, 0]]).all()
    assert read.decode([]).shape == (0, 48, 64, 3)
    assert len(read) == 12
    assert len(decoded) == 3


def test_the_jpegs_are_close_to_the_pixels(make_frames: Any) -> None:
    picture = np.zeros((2, 32, 32, 3), np.uint8)
    picture[..., 0] = 200  # red, so that swapped channels show
    difference = make_frames(frames=picture).frames_THWC.astype(int) - picture
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jpegs": [], "pts_seconds": np.zeros(0), "source_frames": np.zeros(0, np.int32)},
         "at least one image.*0 images"),
        ({"pts_seconds": np.zeros(2)}, r"3 images, \(2,\) times"),
        ({"source_frames": np.zeros(4, np.int32)}, r"\(4,\) source frames"),
        ({"pts_seconds": np.array([0.0, 0.04, 0.04])}, "strictly increase"),
        ({"pts_seconds": np.array([0.0, np.nan, 1.0])}, "strictly increase"),
    ],
    ids=["empty", "times", "sources", "equal", "nan"],
)  # fmt: skip
def test_what_cannot_be_is_refused(make_frames: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        replace(make_frames("bad.mp4", num_frames=3), **changes)
    assert caught.value.video_id == "bad.mp4"


def test_damaged_bytes_name_the_remedy(make_frames: Any) -> None:
    frames = replace(make_frames(num_frames=3), jpegs=[b"one", b"not a jpeg", b"three"])
    with pytest.raises(SchemaError, match="10 bytes are not a JPEG image; run `tubelet verify`"):
        frames.decode([1])


def test_a_time_alone_may_be_anything_finite(make_frames: Any) -> None:
    assert len(make_frames(num_frames=1)) == 1


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_the_codec_shrinks_while_it_decodes(make_frames: Any, shrink: int) -> None:
    image = np.full((50, 67, 3), (200, 100, 50), np.uint8)
    found = decode_jpeg(make_frames(frames=image[None]).jpegs[0], shrink=shrink)
    assert found.shape == (-(-50 // shrink), -(-67 // shrink), 3)
    np.testing.assert_allclose(found.mean((0, 1)), (200, 100, 50), atol=3)
    with pytest.raises(ValueError, match="1, 2, 4 or 8"):
        decode_jpeg(b"", shrink=3)
