"""Where a network looks: maps over the frames of clips.

``maps.arrow`` has a row a map, video by video. Values are kept as they were computed, a row
of numbers with its shape: how they are coloured is decided where they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import TableFile, write_table

MAP_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("frames", pa.list_(pa.int32()), nullable=False),
        pa.field("view", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("shape", pa.list_(pa.int32(), 3), nullable=False),
        pa.field("values", pa.list_(pa.float32()), nullable=False),
        pa.field("asked_frame", pa.int32()),
        pa.field("asked_box", pa.list_(pa.float32())),
    ]
)
FILE = "maps.arrow"


@dataclass(frozen=True, eq=False, repr=False)
class ActivationMap:
    """One map over a clip.

    Parameters
    ----------
    kind : str
        What was computed, such as ``grad_cam``.
    values_THW : ndarray of shape (T, H, W), float32
        Cells, spread evenly over the frames and over the view.
    frames_F : ndarray of shape (F,), int32
        Frames of the clip, by their index in the video.
    view_xyxy : ndarray of shape (4,), float32
        What the network saw, in pixels of the stored frame.
    text : str
        What the map is of: a class and its probability, a similarity.
    asked_frame, asked_xyxy : int and ndarray of shape (4,), optional
        A box, and the frame it lies in, that is looked for in this clip.
    """

    kind: str
    values_THW: NDArray[np.float32]
    frames_F: NDArray[np.int32]
    view_xyxy: NDArray[np.float32]
    text: str = ""
    asked_frame: int | None = None
    asked_xyxy: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.values_THW.ndim != 3 or not self.values_THW.size or not len(self.frames_F):
            raise SchemaError(
                f"a map needs cells (T, H, W) and frames: {self.kind!r} has shape "
                f"{self.values_THW.shape} and {len(self.frames_F)} frames"
            )
        if not np.isfinite(self.values_THW).all():
            raise SchemaError(f"map {self.kind!r} is not finite; is the network diverged?")
        if (self.asked_frame is None) != (self.asked_xyxy is None):
            raise SchemaError(f"map {self.kind!r}: a box that is asked for needs its frame")

    def __repr__(self) -> str:
        return (
            f"ActivationMap({self.kind!r}, {self.values_THW.shape} over {len(self.frames_F)} "
            f"frames, {self.text!r})"
        )

    def to_row(self) -> dict[str, Any]:
        """Row of ``maps.arrow``."""
        return {
            "kind": self.kind,
            "text": self.text,
            "frames": self.frames_F,
            "view": self.view_xyxy,
            "shape": self.values_THW.shape,
            "values": self.values_THW.ravel(),
            "asked_frame": self.asked_frame,
            "asked_box": self.asked_xyxy,
        }

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch, row: int) -> Self:
        """Inverse of `to_row`; values are views of the mapped file."""

        def numbers(name: str) -> Any:
            return batch.column(name)[row].values.to_numpy()

        frame = batch.column("asked_frame")[row].as_py()
        return cls(
            kind=batch.column("kind")[row].as_py(),
            values_THW=numbers("values").reshape(numbers("shape")),
            frames_F=numbers("frames"),
            view_xyxy=numbers("view"),
            text=batch.column("text")[row].as_py(),
            asked_frame=frame,
            asked_xyxy=None if frame is None else numbers("asked_box"),
        )


@dataclass(frozen=True, repr=False)
class ActivationMaps(FolderNoun):
    """Maps of some videos: video id -> its maps, in the order they are shown."""

    name: ClassVar[str] = "activation_maps"
    version: ClassVar[int] = 1

    videos: Mapping[str, Sequence[ActivationMap]]

    def __repr__(self) -> str:
        return f"ActivationMaps({len(self.videos)} videos)"

    def write(self, folder: Path) -> None:
        """Write ``maps.arrow`` into `folder`."""
        write_table(
            folder / FILE,
            MAP_SCHEMA,
            (
                (video_id, pa.Table.from_pylist([m.to_row() for m in maps], schema=MAP_SCHEMA))
                for video_id, maps in self.videos.items()
            ),
            video_ids=list(self.videos),
            noun=self.name,
            version=self.version,
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        return cls(_MapFile(folder / FILE))


class _MapFile(Mapping[str, Sequence[ActivationMap]]):
    def __init__(self, path: Path) -> None:
        noun = ActivationMaps
        self._file = TableFile(path, MAP_SCHEMA, noun=noun.name, version=noun.version)

    def __getitem__(self, video_id: str) -> list[ActivationMap]:
        batch = self._file[video_id]
        return [ActivationMap.from_batch(batch, row) for row in range(len(batch))]

    def __iter__(self) -> Any:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)
