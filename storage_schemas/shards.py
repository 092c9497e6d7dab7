"""Training shards: frames packed for random access, in Arrow IPC or HDF5.

Both back-ends hold the same videos and are read by the same class, which yields `Frames`;
a test proves that their samples are identical. ``shard.h5`` holds all JPEG bytes of a part
back to back in one contiguous dataset, so that an image is one span of the file: readers
map the file and need no HDF5 handle, which could not cross a fork. (Chunks would cost a
whole chunk of reading for each image.)
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage_schemas.errors import SchemaError
from storage_schemas.frames import FRAME_VIDEO_SCHEMA, Frames, Probe
from storage_schemas.tables import check_version

Backend = Literal["arrow", "hdf5"]
H5_NAME = "shard.h5"


class Shard(Frames):
    """Frames of one video, read from a shard of either back-end."""

    name: ClassVar[str] = "shard"
    version: ClassVar[int] = 2  # 2: contiguous bytes in HDF5

    @classmethod
    def open_part(cls, folder: Path) -> Mapping[str, Self]:
        if (folder / H5_NAME).exists():
            return _Hdf5Part(cls, folder / H5_NAME)
        return super().open_part(folder)

    @classmethod
    def write_part(
        cls,
        folder: Path,
        items: Mapping[str, Mapping[str, pa.Table]],
        *,
        backend: Backend = "arrow",
    ) -> dict[str, int]:
        if backend == "arrow":
            return super().write_part(folder, items)
        return {H5_NAME: _write_hdf5(folder / H5_NAME, items, version=cls.version)}


def _write_hdf5(path: Path, items: Mapping[str, Mapping[str, pa.Table]], *, version: int) -> int:
    """Write all videos into one file; returns the number of frames.

    The items are read twice, first for the sizes, so that memory stays at one video.
    """
    image_bytes, source_frames, times, facts = [], [], [], []
    for video_id in items:
        tables = items[video_id]
        frames = tables["frames"]
        image_bytes.append(pc.binary_length(frames.column("jpeg")).to_numpy())
        source_frames.append(frames.column("source_frame").to_numpy())
        times.append(frames.column("pts_seconds").to_numpy())
        facts.append(tables["videos"].to_pylist()[0])
    offsets = _offsets(np.concatenate([np.zeros(0, np.int64), *image_bytes]))
    first_frame = _offsets(np.asarray([len(sizes) for sizes in image_bytes], np.int64))
    with h5py.File(path, "w") as file:
        file.attrs["tubelet.noun"] = Shard.name
        file.attrs["tubelet.version"] = version
        packed = file.create_dataset("jpeg_bytes", (offsets[-1],), np.uint8)
        packed.attrs["description"] = "JPEG images back to back; image i is offsets[i:i+2]"
        for i, video_id in enumerate(items):
            start, end = offsets[first_frame[i]], offsets[first_frame[i + 1]]
            images = items[video_id]["frames"].column("jpeg")
            joined = b"".join(image.as_buffer() for image in images)
            packed[start:end] = np.frombuffer(joined, np.uint8)
        file["jpeg_offsets"] = offsets
        file["source_frame"] = np.concatenate([np.zeros(0, np.int32), *source_frames])
        file["pts_seconds"] = np.concatenate([np.zeros(0), *times])
        file["pts_seconds"].attrs["unit"] = "s"
        file["first_frame"] = first_frame
        videos = file.create_group("videos")
        for field in FRAME_VIDEO_SCHEMA:
            text = pa.types.is_string(field.type)
            kind = h5py.string_dtype() if text else field.type.to_pandas_dtype()
            videos.create_dataset(field.name, data=[row[field.name] for row in facts], dtype=kind)
        file.flush()
    with path.open("rb") as written:
        os.fsync(written.fileno())
    return int(first_frame[-1])


def _offsets(sizes: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where each of several things laid end to end starts, and the end of the last."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


class _Hdf5Part(Mapping[str, Any]):
    """Reader of ``shard.h5``.

    The HDF5 handle is closed again at once: images come from a mapping, which survives a
    fork, and a pickled reader opens the file anew.
    """

    def __init__(self, noun: type[Shard], path: Path) -> None:
        self._noun = noun
        self._path = path
        try:
            # An artifact never changes, and some network file systems cannot lock.
            with h5py.File(path, "r", locking=False) as file:
                if file.attrs.get("tubelet.noun") != Shard.name:
                    raise SchemaError(f"{path} is not a tubelet shard")
                found = int(file.attrs["tubelet.version"])
                check_version(Shard.name, found, noun.version, where=str(path))
                columns = {name: data[:] for name, data in file["videos"].items()}
                self._first_frame = file["first_frame"][:]
                self._offsets = file["jpeg_offsets"][:]
                self._times = file["pts_seconds"][:]
                self._source_frames = file["source_frame"][:]
                # None for a part without images, which has no storage.
                self._start = file["jpeg_bytes"].id.get_offset() or 0
            with path.open("rb") as raw:
                self._bytes = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, KeyError) as error:
            raise SchemaError(
                f"{path} cannot be read as a shard ({error}); run `tubelet verify`"
            ) from error
        video_ids = [video_id.decode() for video_id in columns.pop("video_id")]
        self._index = {video_id: i for i, video_id in enumerate(video_ids)}
        self._facts = {name: _plain(values) for name, values in columns.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._noun, self._path))

    def __getitem__(self, video_id: str) -> Shard:
        i = self._index[video_id]
        first, end = int(self._first_frame[i]), int(self._first_frame[i + 1])
        facts = {name: values[i] for name, values in self._facts.items()}
        return self._noun(
            video_id=video_id,
            jpegs=_PackedJpegs(self, range(first, end)),
            pts_seconds=self._times[first:end],
            source_frames=self._source_frames[first:end],
            height=facts.pop("height"),
            width=facts.pop("width"),
            probe=Probe(**facts),
        )

    def read(self, row: int) -> bytes:
        """JPEG image of a row of the part."""
        start, end = self._start + self._offsets[row], self._start + self._offsets[row + 1]
        return self._bytes[start:end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def _plain(values: np.ndarray[Any, Any]) -> list[Any]:
    """Python values of an HDF5 column: text, numbers or truth values."""
    return [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]


class _PackedJpegs(Sequence[bytes]):
    """Images of one video; indices count as in any sequence, also from the end."""

    def __init__(self, part: _Hdf5Part, rows: range) -> None:
        self._part, self._rows = part, rows

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._part.read(self._rows[index])

    def __len__(self) -> int:
        return len(self._rows)
