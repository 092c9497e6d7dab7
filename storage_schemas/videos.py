"""A video file of a data source: identity and content digest, never its location."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa

from storage_schemas.noun import ItemNoun

VIDEO_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)

UNREADABLE = "unreadable: "  # what a digest begins with that is none; the cause follows


@dataclass(frozen=True)
class VideoFile(ItemNoun):
    """One encoded video.

    Parameters
    ----------
    video_id : str
        Path relative to the root of its data set, with ``/`` and extension.
    digest : str
        SHA-256 of the content, or ``unreadable: CAUSE`` if it could not be read.
    bytes : int
        Size of the file.
    place : str, Path or None
        Where it lies now, as a path or as a URL. Not stored and not part of any key.
    """

    name: ClassVar[str] = "videos"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, pa.Schema]] = {"videos": VIDEO_SCHEMA}

    video_id: str
    digest: str
    bytes: int
    place: str | Path | None = None

    @property
    def path(self) -> Path | None:
        """The file, once it lies on this machine."""
        return None if self.place is None else Path(self.place)

    def to_tables(self) -> dict[str, pa.Table]:
        row = {"video_id": self.video_id, "digest": self.digest, "bytes": self.bytes}
        return {"videos": pa.Table.from_pylist([row], schema=VIDEO_SCHEMA)}

    @classmethod
    def from_tables(cls, video_id: str, tables: Mapping[str, pa.RecordBatch]) -> Self:
        row = tables["videos"].to_pylist()[0]
        return cls(video_id=video_id, digest=row["digest"], bytes=row["bytes"])
