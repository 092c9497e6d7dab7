"""Pack frames for random access by a trainer, in Arrow IPC or HDF5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from pipeline.stage import VideoStage
from storage_schemas.frames import Frames
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.shards import Backend, Shard


class MakeShard(VideoStage, name="shard", version=1):
    """Training shards of decoded frames.

    Parameters
    ----------
    backend : {"arrow", "hdf5"}
        File format; the samples are identical.
    short_side : int or None
        Shrink frames to this short side in pixels and compress them again. None, or
        frames that are no larger: their JPEG bytes are copied untouched.
    quality : int
        JPEG quality of frames that are compressed again.
    """

    backend: Backend = "arrow"
    short_side: int | None = Field(None, ge=16)
    quality: int = Field(90, ge=1, le=100)

    def process(self, *, frames: Frames) -> Shard:
        """Frames of one video, as the trainer will read them."""
        if self.short_side is not None and min(frames.height, frames.width) > self.short_side:
            return shrink(frames, short_side=self.short_side, quality=self.quality)
        return Shard(**vars(frames))

    def write_part(
        self, folder: Path, items: Mapping[str, Mapping[str, pa.Table]]
    ) -> dict[str, int]:
        """Write the part with the chosen back-end."""
        return Shard.write_part(folder, items, backend=self.backend)


def shrink(frames: Frames, *, short_side: int, quality: int) -> Shard:
    """Scale all frames to a short side in pixels and compress them again.

    Pixels are averaged over their area, so that texture does not alias. One frame is in
    memory at a time.
    """
    import cv2

    scale = short_side / min(frames.height, frames.width)
    height, width = round(frames.height * scale), round(frames.width * scale)
    jpegs = [
        encode_jpeg(
            cv2.resize(frames.decode([t])[0], (width, height), interpolation=cv2.INTER_AREA),
            quality=quality,
        )
        for t in range(len(frames))
    ]
    return Shard(**(vars(frames) | {"jpegs": jpegs, "height": height, "width": width}))
