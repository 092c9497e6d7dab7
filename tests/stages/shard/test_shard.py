"""The shard stage: bytes copied untouched, or shrunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.shard.shard import MakeShard
from storage_schemas.shards import H5_NAME, Shard


@pytest.mark.parametrize("short_side", [None, 48, 200])
def test_frames_are_copied_untouched(make_frames: Any, short_side: int | None) -> None:
    frames = make_frames(size=(48, 64))
    shard = MakeShard(short_side=short_side).process(frames=frames)
    assert isinstance(shard, Shard)
    assert vars(shard) == vars(frames)


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 81), (30, 40)), ((81, 60), (40, 30)), ((60, 60), (30, 30))]
)
def test_shrinking_keeps_times_and_content(
    make_frames: Any, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    frames = make_frames(size=size)
    shard = MakeShard(short_side=30).process(frames=frames)
    assert (shard.height, shard.width) == expected
    assert shard.frames_THWC.shape == (len(frames), *expected, 3)
    assert shard.pts_seconds.tolist() == frames.pts_seconds.tolist()
    assert shard.source_frames.tolist() == frames.source_frames.tolist()
    assert shard.probe == frames.probe
    small = shard.decode([3])[0].astype(float).mean((0, 1))
    large = frames.decode([3])[0].astype(float).mean((0, 1))
    np.testing.assert_allclose(small, large, atol=3)


def test_shrinking_does_not_alias(make_frames: Any) -> None:
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255  # finer than the shrunk grid: only grey is left
    shard = MakeShard(short_side=32, quality=100).process(frames=make_frames(frames=stripes))
    assert shard.frames_THWC.std() < 8
    assert shard.frames_THWC.mean() == pytest.approx(127.5, abs=8)


def test_quality_decides_the_size(make_frames: Any) -> None:
    def size(quality: int) -> int:
        shard = MakeShard(short_side=32, quality=quality).process(frames=make_frames())
        return sum(map(len, shard.jpegs))

    assert size(30) < 0.7 * size(95)


@pytest.mark.parametrize(("backend", "file"), [("arrow", "frames.arrow"), ("hdf5", H5_NAME)])
def test_backend_decides_the_file(
    tmp_path: Path, make_frames: Any, backend: Any, file: str
) -> None:
    stage = MakeShard(backend=backend)
    shard = stage.process(frames=make_frames())
    stage.write_part(tmp_path, {"a.mp4": shard.to_tables()})
    assert (tmp_path / file).exists()
    assert list(Shard.open_part(tmp_path)) == ["a.mp4"]
    picture = stage.preview(Shard.open_part(tmp_path)["a.mp4"])
    assert picture.dtype == np.uint8
    assert picture.shape[1] > 4 * 120
