"""Results of evaluation: one row a number, with everything needed to read it right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa

from storage_schemas.noun import FolderNoun
from storage_schemas.tables import TableFile, write_table

METRIC_SCHEMA = pa.schema(
    [
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("encoder", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("n", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class MetricRow:
    """One number: `value` of `metric` over `n` videos of `split`.

    ``encoder`` says ``pretrained`` or ``random``: both always stand side by side.
    """

    protocol: str
    encoder: str
    split: str
    metric: str
    value: float
    n: int


@dataclass(frozen=True)
class Metrics(FolderNoun):
    """Rows of one evaluation, in the order they are reported."""

    name: ClassVar[str] = "metrics"
    version: ClassVar[int] = 1

    rows: Sequence[MetricRow]

    def write(self, folder: Path) -> None:
        """Write ``metrics.arrow`` into `folder`."""
        table = pa.Table.from_pylist([vars(row) for row in self.rows], schema=METRIC_SCHEMA)
        write_table(
            folder / "metrics.arrow",
            METRIC_SCHEMA,
            [("*", table)],
            video_ids=["*"],
            noun=self.name,
            version=self.version,
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        file = TableFile(
            folder / "metrics.arrow", METRIC_SCHEMA, noun=cls.name, version=cls.version
        )
        return cls([MetricRow(**row) for row in file["*"].to_pylist()])
