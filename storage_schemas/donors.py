"""Which video's background stands behind which actor: the manifest of the mixed variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import pyarrow as pa

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import TableFile, write_table

DONOR_SCHEMA = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("donor", pa.string(), nullable=False),
        pa.field("donor_label", pa.string(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("box", pa.string(), nullable=False),
    ]
)
Box = Literal["frame", "video"]
_FILE = "donors.arrow"


@dataclass(frozen=True)
class DonorRow:
    """The foreground is of `video_id`, the background of `donor`, drawn with `seed`.

    `box` says what is taken out of a background: ``frame``, the tight box of the foreground in
    each frame, or ``video``, one box around all of them.
    """

    variant: str
    video_id: str
    label: str
    donor: str
    donor_label: str
    seed: int
    box: Box = "frame"


@dataclass(frozen=True, repr=False)
class Donors(FolderNoun):
    """Rows of all mixed variants.

    Raises
    ------
    SchemaError
        If a video is its own donor, or boxes are of several kinds.
    """

    name: ClassVar[str] = "donors"
    version: ClassVar[int] = 1

    rows: Sequence[DonorRow]

    def __post_init__(self) -> None:
        for row in self.rows:
            if row.donor == row.video_id:
                raise SchemaError(f"{row.variant}: its own donor", video_id=row.video_id)
        if len({row.box for row in self.rows}) > 1:
            raise SchemaError("a table of donors has boxes of one kind")

    def __repr__(self) -> str:
        return f"Donors({len(self.rows)} rows)"

    @property
    def box(self) -> Box:
        """Of all rows."""
        return self.rows[0].box if self.rows else "frame"

    def write(self, folder: Path) -> None:
        """Write ``donors.arrow`` into `folder`."""
        table = pa.Table.from_pylist([vars(row) for row in self.rows], schema=DONOR_SCHEMA)
        write_table(
            folder / _FILE,
            DONOR_SCHEMA,
            [("*", table)],
            video_ids=["*"],
            noun=self.name,
            version=self.version,
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        file = TableFile(folder / _FILE, DONOR_SCHEMA, noun=cls.name, version=cls.version)
        return cls([DonorRow(**row) for row in file["*"].to_pylist()])
