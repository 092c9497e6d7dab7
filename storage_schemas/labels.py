"""Class and split of each video: an annotation table of its own, read by evaluation only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import TableFile, write_table

LABEL_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)
SPLITS = ("train", "val", "test")
_HANDED = re.compile(r"(?<![A-Za-z])(?:left|right)(?![a-z])|(?:Left|Right)(?![a-z])")
_OTHER_HAND = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def mirrored(label: str) -> str:
    """What a class is called when its frames are mirrored: left and right change places.

    They count as words: ``Pulling something from left to right``, ``turn_left``, ``MoveRight``.
    """
    return _HANDED.sub(lambda found: _OTHER_HAND[found[0]], label)


@dataclass(frozen=True, order=True)
class LabelRow:
    """Class name and split (``train``, ``val`` or ``test``) of one video.

    The name is empty where the class is not published, as of some test sets.
    """

    video_id: str
    label: str
    split: str


@dataclass(frozen=True, repr=False)
class Labels(FolderNoun):
    """Rows sorted by video id, one a video.

    Raises
    ------
    SchemaError
        If a video occurs twice or a split is unknown.
    """

    name: ClassVar[str] = "labels"
    version: ClassVar[int] = 1

    rows: Sequence[LabelRow]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sorted(self.rows)))
        twice = [v for v, n in Counter(row.video_id for row in self.rows).items() if n > 1]
        if twice:
            raise SchemaError(f"videos with two labels: {len(twice)}, the first is {twice[0]!r}")
        for row in self.rows:
            if row.split not in SPLITS:
                raise SchemaError(
                    f"split {row.split!r} is not one of {SPLITS}", video_id=row.video_id
                )

    def __repr__(self) -> str:
        return f"Labels({len(self.rows)} videos, {len(self.classes)} classes)"

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their indices (sorted)."""
        return sorted({row.label for row in self.rows} - {""})

    @property
    def handed(self) -> list[str]:
        """Classes that are another class of the data set when frames are mirrored.

        Where there are any, a horizontal flip gives videos a wrong label; see `mirrored`. A
        word alone does not tell: "pulling it right out" has no left counterpart.
        """
        classes = set(self.classes)
        return [one for one in self.classes if mirrored(one) in classes - {one}]

    def write(self, folder: Path) -> None:
        """Write ``labels.arrow`` into `folder`."""
        table = pa.Table.from_pylist([vars(row) for row in self.rows], schema=LABEL_SCHEMA)
        write_table(
            folder / "labels.arrow",
            LABEL_SCHEMA,
            [("*", table)],
            video_ids=["*"],
            noun=self.name,
            version=self.version,
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        file = TableFile(folder / "labels.arrow", LABEL_SCHEMA, noun=cls.name, version=cls.version)
        return cls([LabelRow(**row) for row in file["*"].to_pylist()])
