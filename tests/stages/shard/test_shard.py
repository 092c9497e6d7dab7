"""The shard stage: bytes copied untouched, or shrunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.shard.shard import MakeShard
from storage_schemas.shards import H5_NAME, Shard


def test_frames_are_copied_untouched(make_frames: Any) -> None:
    frames = make_frames()
    shard = MakeShard().process(frames=frames)
    assert isinstance(shard, Shard)
    assert list(shard.jpegs) == list(frames.jpegs)


def test_shrinking_keeps_times_and_content(make_frames: Any) -> None:
    frames = make_frames(size=(60, 81))
    shard = MakeShard(short_side=30).process(frames=frames)
    assert (shard.height, shard.width) == (30, 40)
    assert shard.pts_seconds.tolist() == frames.pts_seconds.tolist()
    small = shard.decode([3])[0].astype(float).mean((0, 1))
    large = frames.decode([3])[0].astype(float).mean((0, 1))
    np.testing.assert_allclose(small, large, atol=3)
    assert MakeShard(short_side=200).process(frames=frames).height == 60


@pytest.mark.parametrize(("backend", "file"), [("arrow", "frames.arrow"), ("hdf5", H5_NAME)])
def test_backend_decides_the_file(
    tmp_path: Path, make_frames: Any, backend: Any, file: str
) -> None:
    stage = MakeShard(backend=backend)
    shard = stage.process(frames=make_frames())
    stage.write_part(tmp_path, {"a.mp4": shard.to_tables()})
    assert (tmp_path / file).exists()
    assert list(Shard.open_part(tmp_path)) == ["a.mp4"]
