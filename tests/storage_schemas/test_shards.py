"""Both back-ends of a shard give identical samples, wherever they are read."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.frames import Frames, Probe
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.noun import Items
from storage_schemas.shards import H5_NAME, Backend, Shard

BACKENDS: tuple[Backend, ...] = ("arrow", "hdf5")
PICKS = np.random.default_rng(0).integers(0, 5, 7)
PROBE = Probe(
    codec="h264",
    source_height=96,
    source_width=128,
    rotation_degrees=90,
    average_fps=29.97,
    variable_frame_rate=True,
    frames_expected=9,
    frames_decoded=7,
    status="partial",
)


@pytest.fixture
def videos(make_frames: Any) -> dict[str, Shard]:
    found = {}
    for i, video_id in enumerate(["a.mp4", "sub dir/é 世界 #&().avi", "c.mp4"]):
        frames = make_frames(video_id, kind=Shard, seed=i, num_frames=5 + i, size=(48, 64 + 2 * i))
        # Times that no frame rate gives, and facts that are not the defaults.
        times = np.cumsum(np.random.default_rng(i).uniform(0.01, 0.1, len(frames)))
        changed = {"pts_seconds": times, "probe": PROBE} if i == 1 else {"pts_seconds": times}
        found[video_id] = Shard(**{**vars(frames), **changed})
    return found


def write(folder: Path, videos: dict[str, Shard], backend: Backend) -> Items[Shard]:
    folder.mkdir()
    tables = {video_id: video.to_tables() for video_id, video in videos.items()}
    rows = Shard.write_part(folder, tables, backend=backend)
    assert rows == (
        {"frames.arrow": 18, "videos.arrow": 3} if backend == "arrow" else {H5_NAME: 18}
    )
    return Items(Shard, [folder])


Sample = tuple[Shard, NDArray[np.uint8]]  # a video, and its frames at PICKS
Reader = Callable[[Items[Shard], str], Sample]


def read_here(items: Items[Shard], video_id: str) -> Sample:
    return items[video_id], items[video_id].decode(PICKS)


def read_pickled(items: Items[Shard], video_id: str) -> Sample:
    items[video_id].decode([0])  # files are open when it is pickled
    video = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(items))[video_id]))
    return video, video.decode(PICKS)


def read_spawned(items: Items[Shard], video_id: str) -> Sample:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        video = pool.submit(Items.__getitem__, items, video_id).result()
        return video, pool.submit(Frames.decode, video, PICKS).result()


def read_forked(items: Items[Shard], video_id: str) -> Sample:
    video = items[video_id]
    video.decode([0])  # the parent's files are open when it forks
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_send, args=(items, video, queue))
    child.start()
    again, from_items, from_video = queue.get(timeout=30)
    child.join()
    assert (from_items == from_video).all()
    return again, from_video


def _send(items: Items[Shard], video: Shard, queue: Any) -> None:
    again = items[video.video_id]
    queue.put((again, again.decode(PICKS), video.decode(PICKS)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("read", [read_here, read_pickled, read_spawned, read_forked])
@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_are_what_was_written(
    tmp_path: Path, videos: dict[str, Shard], backend: Backend, read: Reader
) -> None:
    items = write(tmp_path / backend, videos, backend)
    assert list(items) == list(videos)
    for video_id, video in videos.items():
        again, clip_THWC = read(items, video_id)
        assert list(again.jpegs) == list(video.jpegs)
        assert again.jpegs[-1] == video.jpegs[-1]
        np.testing.assert_array_equal(again.pts_seconds, video.pts_seconds, strict=True)
        np.testing.assert_array_equal(again.source_frames, video.source_frames, strict=True)
        assert (again.video_id, again.height, again.width) == (video_id, 48, video.width)
        assert again.probe == video.probe
        types = [type(value) for value in vars(again.probe).values()]
        assert types == [str, int, int, int, float, bool, int, int, str]
        np.testing.assert_array_equal(clip_THWC, video.decode(PICKS), strict=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_videos_give_the_same_bytes(
    tmp_path: Path, videos: dict[str, Shard], backend: Backend
) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, videos, backend)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("index", [5, -6])
def test_index_outside_is_an_error(
    tmp_path: Path, videos: dict[str, Shard], backend: Backend, index: int
) -> None:
    items = write(tmp_path / "s", videos, backend)
    with pytest.raises(IndexError):
        items["a.mp4"].decode([index])


def test_an_image_is_a_span_of_the_file(tmp_path: Path, videos: dict[str, Shard]) -> None:
    """Chunks would cost a whole chunk of reading for each image."""
    write(tmp_path / "s", videos, "hdf5")
    with h5py.File(tmp_path / "s" / H5_NAME) as file:
        assert file["jpeg_bytes"].chunks is None
        start = file["jpeg_bytes"].id.get_offset() + int(file["jpeg_offsets"][6])
    image = videos["sub dir/é 世界 #&().avi"].jpegs[1]
    content = (tmp_path / "s" / H5_NAME).read_bytes()
    assert content[start : start + len(image)] == image


def _noise(video_id: str) -> Shard:
    rng = np.random.default_rng(ord(video_id))
    image = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Shard(
        video_id=video_id,
        jpegs=[encode_jpeg(image, quality=90)] * 2,
        pts_seconds=np.arange(2.0),
        source_frames=np.arange(2, dtype=np.int32),
        height=16,
        width=16,
        probe=Probe(),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_part(tmp_path: Path, backend: Backend) -> None:
    Shard.write_part(tmp_path, {}, backend=backend)
    assert list(Items(Shard, [tmp_path])) == []


class _Newer(Shard):
    version: ClassVar[int] = 99


@pytest.mark.parametrize("backend", BACKENDS)
def test_newer_version_is_refused(tmp_path: Path, backend: Backend) -> None:
    _Newer.write_part(tmp_path, {"a": _noise("a").to_tables()}, backend=backend)
    assert list(_Newer.open_part(tmp_path)) == ["a"]
    with pytest.raises(SchemaError, match=r"version 99 was written by a newer tubelet.*--store"):
        Shard.open_part(tmp_path)


def test_damaged_file_is_told(tmp_path: Path, videos: dict[str, Shard]) -> None:
    write(tmp_path / "s", videos, "hdf5")
    path = tmp_path / "s" / H5_NAME
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SchemaError, match=r"shard\.h5 cannot be read .* run `tubelet verify`"):
        Shard.open_part(tmp_path / "s")
    with h5py.File(path, "w") as file:
        file.attrs["tubelet.noun"] = "song"
    with pytest.raises(SchemaError, match="is not a tubelet shard"):
        Shard.open_part(tmp_path / "s")
