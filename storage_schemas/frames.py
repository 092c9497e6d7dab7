"""Decoded frames of a video: JPEG bytes with exact times, and what the probe found.

``frames.arrow`` holds a row per stored frame, ``videos.arrow`` a row per video. The row
number within a video is the *frame index* that every other noun refers to;
``source_frame`` counts the decoded frames of the original file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.jpeg import decode_jpeg
from storage_schemas.noun import ItemNoun

FRAME_SCHEMA = pa.schema(
    [
        pa.field("source_frame", pa.int32(), nullable=False),
        pa.field("pts_seconds", pa.float64(), nullable=False),
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)
FRAME_VIDEO_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
        pa.field("source_height", pa.int32(), nullable=False),
        pa.field("source_width", pa.int32(), nullable=False),
        pa.field("rotation_degrees", pa.int32(), nullable=False),
        pa.field("average_fps", pa.float64(), nullable=False),
        pa.field("variable_frame_rate", pa.bool_(), nullable=False),
        pa.field("frames_expected", pa.int32(), nullable=False),
        pa.field("frames_decoded", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Probe:
    """Facts of the encoded file.

    ``frames_expected`` is what the container promises (-1 if it promises nothing),
    ``frames_decoded`` what came out; ``status`` says ``partial`` where fewer came out
    than promised. ``rotation_degrees`` is already applied to the stored frames.
    """

    codec: str = "unknown"
    source_height: int = 0
    source_width: int = 0
    rotation_degrees: int = 0
    average_fps: float = 0.0
    variable_frame_rate: bool = False
    frames_expected: int = -1
    frames_decoded: int = 0
    status: Literal["complete", "partial"] = "complete"


@dataclass(frozen=True, repr=False)
class Frames(ItemNoun):
    """Stored frames of one video, decoded on access.

    Parameters
    ----------
    video_id : str
    jpegs : sequence of bytes
        One JPEG image a frame; lazy when read from disk.
    pts_seconds : ndarray of shape (T,), float64
        Presentation times, strictly increasing.
    source_frames : ndarray of shape (T,), int32
    height, width : int
        Size of the stored frames in pixels.
    probe : Probe
    """

    name: ClassVar[str] = "frames"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "frames": FRAME_SCHEMA,
        "videos": FRAME_VIDEO_SCHEMA,
    }

    video_id: str
    jpegs: Sequence[bytes]
    pts_seconds: NDArray[np.float64]
    source_frames: NDArray[np.int32]
    height: int
    width: int
    probe: Probe

    def __post_init__(self) -> None:
        count = len(self.jpegs)
        if not count == len(self.pts_seconds) == len(self.source_frames) or count == 0:
            raise SchemaError(
                f"frames need at least one image and as many times: {count} images, "
                f"{self.pts_seconds.shape} times, {self.source_frames.shape} source frames",
                video_id=self.video_id,
            )
        if count > 1 and not bool(np.all(np.diff(self.pts_seconds) > 0)):
            raise SchemaError("frame times must strictly increase", video_id=self.video_id)

    def __len__(self) -> int:
        return len(self.jpegs)

    def __repr__(self) -> str:
        return f"Frames({self.video_id!r}, T={len(self)}, {self.height}x{self.width})"

    def decode(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """RGB frames at `indices`, shape (len(indices), H, W, 3), uint8.

        An index that occurs several times is decoded once.
        """
        if len(indices) == 1:  # no copy
            return decode_jpeg(self.jpegs[int(indices[0])])[None]
        clip_THWC = np.empty((len(indices), self.height, self.width, 3), dtype=np.uint8)
        seen: dict[int, int] = {}
        for t, index in enumerate(int(i) for i in indices):
            if index in seen:
                clip_THWC[t] = clip_THWC[seen[index]]
            else:
                clip_THWC[t] = decode_jpeg(self.jpegs[index])
                seen[index] = t
        return clip_THWC

    @property
    def frames_THWC(self) -> NDArray[np.uint8]:
        """All frames, shape (T, H, W, 3), uint8 RGB; decoded anew at each access."""
        return self.decode(range(len(self)))

    def to_tables(self) -> dict[str, pa.Table]:
        frames = pa.table(
            {
                "source_frame": pa.array(self.source_frames, pa.int32()),
                "pts_seconds": pa.array(self.pts_seconds, pa.float64()),
                "jpeg": pa.array(list(self.jpegs), pa.binary()),
            },
            schema=FRAME_SCHEMA,
        )
        row = {
            "video_id": self.video_id,
            "height": self.height,
            "width": self.width,
            **vars(self.probe),
        }
        return {"frames": frames, "videos": pa.Table.from_pylist([row], schema=FRAME_VIDEO_SCHEMA)}

    @classmethod
    def from_tables(cls, video_id: str, tables: Mapping[str, pa.RecordBatch]) -> Self:
        frames = tables["frames"]
        facts = tables["videos"].to_pylist()[0]
        facts.pop("video_id")
        return cls(
            video_id=video_id,
            jpegs=_BinaryColumn(frames.column("jpeg")),
            pts_seconds=frames.column("pts_seconds").to_numpy(),
            source_frames=frames.column("source_frame").to_numpy(),
            height=facts.pop("height"),
            width=facts.pop("width"),
            probe=Probe(**facts),
        )


class _BinaryColumn(Sequence[bytes]):
    """A view of an Arrow binary column: an element is copied only when asked for."""

    def __init__(self, column: pa.BinaryArray) -> None:
        self._column = column

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        value: bytes = self._column[index].as_py()
        return value

    def __len__(self) -> int:
        return len(self._column)
