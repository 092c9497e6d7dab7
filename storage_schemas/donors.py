"""Which video's background stands behind which actor: the manifest of the mixed variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

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
    ]
)
_FILE = "donors.arrow"


@dataclass(frozen=True)
class DonorRow:
    """The foreground is of `video_id`, the background of `donor`, drawn with `seed`."""

    variant: str
    video_id: str
    label: str
    donor: str
    donor_label: str
    seed: int


@dataclass(frozen=True, repr=False)
class Donors(FolderNoun):
    """Rows of all mixed variants.

    Raises
    ------
    SchemaError
        If a video is its own donor.
    """

    name: ClassVar[str] = "donors"
    version: ClassVar[int] = 1

    rows: Sequence[DonorRow]

    def __post_init__(self) -> None:
        for row in self.rows:
            if row.donor == row.video_id:
                raise SchemaError(f"{row.variant}: its own donor", video_id=row.video_id)

    def __repr__(self) -> str:
        return f"Donors({len(self.rows)} rows)"

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
