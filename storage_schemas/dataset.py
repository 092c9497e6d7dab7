"""A generated, labelled data set: real video files in UCF101 layout, and exact truth.

::

    UCF-101/<Class>/v_<Class>_gXX_cYY.mp4
    ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt
    truth/{boxes,videos}.arrow     exact boxes and masks, as `Boxes` with tracks
    truth/speeds.arrow             pixels a frame of each object in each frame
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa

from storage_schemas.boxes import Boxes
from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import TableFile

SPEED_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("track", pa.int32(), nullable=False),
        pa.field("vx_pixels_per_frame", pa.float32(), nullable=False),
        pa.field("vy_pixels_per_frame", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Dataset(FolderNoun):
    """The files of a generated data set."""

    name: ClassVar[str] = "dataset"
    version: ClassVar[int] = 1

    folder: Path

    @property
    def videos_root(self) -> Path:
        """Folder that video ids are relative to."""
        return self.folder / "UCF-101"

    @property
    def lists_root(self) -> Path:
        """Folder of the class and split lists."""
        return self.folder / "ucfTrainTestlist"

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """Exact boxes and masks by video id."""
        return Boxes.open_part(self.folder / "truth")

    @property
    def speeds(self) -> TableFile:
        """Exact speeds by video id; columns of `SPEED_SCHEMA`."""
        return TableFile(
            self.folder / "truth" / "speeds.arrow",
            SPEED_SCHEMA,
            noun=f"{self.name}.speeds",
            version=self.version,
        )

    def write(self, folder: Path) -> None:
        """Move the files into `folder`."""
        for name in ("UCF-101", "ucfTrainTestlist", "truth"):
            shutil.move(self.folder / name, folder / name)

    @classmethod
    def open(cls, folder: Path) -> Self:
        if not (folder / "UCF-101").is_dir():
            raise SchemaError(f"{folder} holds no UCF-101 folder: not a generated data set")
        return cls(folder)
