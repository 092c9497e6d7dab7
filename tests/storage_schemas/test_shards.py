"""Both back-ends of a shard give identical samples, wherever they are read."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.noun import Items
from storage_schemas.shards import H5_NAME, Backend, Shard

BACKENDS: tuple[Backend, ...] = ("arrow", "hdf5")


@pytest.fixture
def videos(make_frames: Any) -> dict[str, Shard]:
    return {
        f"v {i} é#.mp4": make_frames(f"v {i} é#.mp4", kind=Shard, seed=i, num_frames=5 + i)
        for i in range(3)
    }


def write(folder: Path, videos: dict[str, Shard], backend: Backend) -> Items[Shard]:
    folder.mkdir()
    tables = {video_id: video.to_tables() for video_id, video in videos.items()}
    rows = Shard.write_part(folder, tables, backend=backend)
    assert set(rows.values()) <= {18, 3}
    return Items(Shard, [folder])


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_are_what_was_written(
    tmp_path: Path, videos: dict[str, Shard], backend: Backend
) -> None:
    items = write(tmp_path / backend, videos, backend)
    assert list(items) == list(videos)
    for video_id, video in videos.items():
        read = items[video_id]
        assert list(read.jpegs) == list(video.jpegs)
        assert read.pts_seconds.tolist() == video.pts_seconds.tolist()
        assert read.source_frames.tolist() == video.source_frames.tolist()
        assert (read.height, read.width, read.probe) == (video.height, video.width, video.probe)
        picks = np.random.default_rng(0).integers(0, len(video), 7)
        assert (read.decode(picks) == video.decode(picks)).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_pickled_readers_open_their_own_files(
    tmp_path: Path, videos: dict[str, Shard], backend: Backend
) -> None:
    items = write(tmp_path / backend, videos, backend)
    first = next(iter(videos))
    expected = items[first].decode([2])
    again = pickle.loads(pickle.dumps(items))
    assert (again[first].decode([2]) == expected).all()


def _read_in_child(items: Items[Shard], video_id: str, queue: Any) -> None:
    queue.put(items[video_id].decode([1, 4]))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_open_reader_survives_a_fork(
    tmp_path: Path, videos: dict[str, Shard], backend: Backend
) -> None:
    items = write(tmp_path / backend, videos, backend)
    first, last = next(iter(videos)), list(videos)[-1]
    items[first].decode([0])  # the parent's handle is open now
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(items, last, queue))
    child.start()
    found = queue.get(timeout=30)
    child.join()
    assert (found == videos[last].decode([1, 4])).all()


def test_empty_part(tmp_path: Path) -> None:
    for backend in BACKENDS:
        folder = tmp_path / backend
        folder.mkdir()
        Shard.write_part(folder, {}, backend=backend)
        assert list(Items(Shard, [folder])) == []


def test_newer_version_is_refused(tmp_path: Path, videos: dict[str, Shard]) -> None:
    write(tmp_path / "s", videos, "hdf5")
    with h5py.File(tmp_path / "s" / H5_NAME, "r+") as file:
        file.attrs["tubelet.version"] = 99
    with pytest.raises(SchemaError, match=r"shard version 99 was written by a newer tubelet"):
        Shard.open_part(tmp_path / "s")


def test_index_outside_is_an_error(tmp_path: Path, videos: dict[str, Shard]) -> None:
    items = write(tmp_path / "s", videos, "hdf5")
    with pytest.raises(IndexError, match="frame 5 of 5"):
        items[next(iter(videos))].decode([5])
