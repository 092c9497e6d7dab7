"""What every noun shares: a name, a version, and how it is read back.

Two kinds exist. An `ItemNoun` is the result of one video (frames, boxes); a part holds
many of them in one file per table. A `FolderNoun` is one thing for a whole data set
(labels, an encoder, metrics). Stages name nouns in their signatures; nothing else about
the files on disk is known outside this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import pyarrow as pa

from storage_schemas.errors import SchemaError
from storage_schemas.tables import TableFile, write_table


class Noun:
    """Anything a stage can write. `name` and `version` are part of every key."""

    name: ClassVar[str]
    version: ClassVar[int]


class ItemNoun(Noun):
    """The result of one video, stored as one Arrow table per entry of `tables`."""

    tables: ClassVar[Mapping[str, pa.Schema]]
    video_id: str

    def to_tables(self) -> dict[str, pa.Table]:
        """Rows for each table of `tables`; validates what it writes."""
        raise NotImplementedError

    @classmethod
    def from_tables(cls, video_id: str, tables: Mapping[str, pa.RecordBatch]) -> Self:
        """Value type from the rows of one video; lazy where the data is large."""
        raise NotImplementedError

    @classmethod
    def open_part(cls, folder: Path) -> Mapping[str, Self]:
        """Reader of the part written in `folder`: video id -> value."""
        return _PartReader(cls, folder)

    @classmethod
    def write_part(
        cls, folder: Path, items: Mapping[str, Mapping[str, pa.Table]]
    ) -> dict[str, int]:
        """Write the tables of many videos; returns rows per file name.

        `items` may be lazy: it is read one video at a time, in its order.
        """
        rows = {}
        for stem, schema in cls.tables.items():
            file = f"{stem}.arrow"
            rows[file] = write_table(
                folder / file,
                schema,
                ((video_id, items[video_id][stem]) for video_id in items),
                video_ids=list(items),
                noun=f"{cls.name}.{stem}",
                version=cls.version,
            )
        return rows


class FolderNoun(Noun):
    """One thing for a whole data set, stored as the files of one folder."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Reader of the artifact in `folder`."""
        raise NotImplementedError


N = TypeVar("N", bound=ItemNoun)


class _PartReader(Mapping[str, N]):
    def __init__(self, noun: type[N], folder: Path) -> None:
        self._noun = noun
        self._files = {
            stem: TableFile(
                folder / f"{stem}.arrow",
                schema,
                noun=f"{noun.name}.{stem}",
                version=noun.version,
            )
            for stem, schema in noun.tables.items()
        }

    def __getitem__(self, video_id: str) -> N:
        return self._noun.from_tables(
            video_id, {stem: file[video_id] for stem, file in self._files.items()}
        )

    def __iter__(self) -> Iterator[str]:
        return iter(next(iter(self._files.values())))

    def __len__(self) -> int:
        return len(next(iter(self._files.values())))


class Items(Mapping[str, N], Generic[N]):
    """All videos of several parts behind one mapping: video id -> value.

    Parameters
    ----------
    noun : type of ItemNoun
    folders : sequence of Path
        Artifact folders, one a part. Opened on first use in each process, so an
        instance may be sent to a worker and never shares handles across a fork.
    """

    def __init__(self, noun: type[N], folders: Sequence[Path]) -> None:
        self.noun = noun
        self.folders = list(folders)
        self._opened: tuple[int, dict[str, Mapping[str, N]]] | None = None

    def _by_video(self) -> dict[str, Mapping[str, N]]:
        if self._opened is None or self._opened[0] != os.getpid():
            table: dict[str, Mapping[str, N]] = {}
            for folder in self.folders:
                part = self.noun.open_part(folder)
                for video_id in part:
                    if video_id in table:
                        raise SchemaError(
                            f"{self.noun.name}: video in two parts of one data set; "
                            "the ledger is damaged, use a fresh --store",
                            video_id=video_id,
                        )
                    table[video_id] = part
            self._opened = (os.getpid(), table)
        return self._opened[1]

    def __getitem__(self, video_id: str) -> N:
        return self._by_video()[video_id][video_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_video())

    def __len__(self) -> int:
        return len(self._by_video())

    def __getstate__(self) -> dict[str, Any]:
        return {"noun": self.noun, "folders": self.folders, "_opened": None}

    def __repr__(self) -> str:
        return f"Items[{self.noun.name}]({len(self.folders)} parts)"
