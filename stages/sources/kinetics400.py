"""Kinetics-400 layout: official CSV lists, and clips named ``<id>_<start>_<end>``.

::

    {train,val,test}.csv       or annotations/*.csv: label,youtube_id,time_start,time_end,split
    **/<id>_<start>_<end>.mp4  times with six digits; in class folders, split folders or flat

References
----------
Kay et al., *The Kinetics Human Action Video Dataset*, 2017; specs/downstream.md section 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import add_row, clip_name, find_videos, match, read_csv
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

Split = Literal["train", "val", "test"]
_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_SPLITS: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}


class Kinetics400(Source, name="kinetics400", version=1):
    """Clips that the lists name, with their classes.

    Every copy of Kinetics lacks videos that YouTube no longer has: how many of each list
    are there is told, with the first that are missing. A video's id is its file's name
    without extension, wherever the file lies.

    Parameters
    ----------
    path : Path
        Folder of the lists, with the clips somewhere below.
    splits : tuple of {"train", "val", "test"}
        Which are used.
    """

    path: Path = Path("kinetics400")
    splits: tuple[Split, ...] = Field(("train", "val"), min_length=1)

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos of the chosen splits in the order of their ids."""
        root = self.path.expanduser()
        rows = [row for row in read_lists(root) if row.split in self.splits]
        files, repeated = find_videos(root)
        listing = match(rows, files, digest=digest)
        if not listing.videos:
            raise SourceError(
                f"{root} holds none of the {len(rows)} clips that its lists name for "
                f"{', '.join(self.splits)}; they are called <youtube id>_<start>_<end>.mp4, times "
                f"with six digits. Set --set {self.name}.path=DIR"
            )
        return Listing(listing.videos, listing.labels, [*listing.notes, *repeated])


def read_lists(root: Path) -> list[LabelRow]:
    """Rows of all lists ``*.csv`` and ``annotations/*.csv`` below `root`.

    Columns are found by name, further ones are passed over. The list of a test set may
    lack the column of labels.

    Raises
    ------
    SourceError
        If there is no list, a column is missing, a row is malformed, or rows contradict
        each other.
    """
    paths = sorted([*root.glob("*.csv"), *root.glob("annotations/*.csv")])
    if not paths:
        raise SourceError(
            f"{root} holds no list; put the official train.csv and val.csv there, with the "
            f"columns {','.join(_COLUMNS)}"
        )
    rows: dict[str, LabelRow] = {}
    for path in paths:
        lines = read_csv(path)
        _, header = next(lines, (0, []))
        lacking = [name for name in _COLUMNS[1:] if name not in header]
        if lacking:
            raise SourceError(
                f"{path} is no list of Kinetics: column {lacking[0]!r} is missing among "
                f"{header}; remove the file or add the column"
            )
        for number, cells in lines:
            where = f"{path}:{number}"
            if len(cells) != len(header):
                raise SourceError(f"{where}: {len(cells)} cells, the header has {len(header)}")
            row = dict(zip(header, cells, strict=True))
            split = _SPLITS.get(row["split"].lower())
            if split is None:
                raise SourceError(f"{where}: split {row['split']!r} is not one of {[*_SPLITS]}")
            label = row.get("label", "")
            if not label and split != "test":
                raise SourceError(f"{where}: a video of {split} needs a label")
            name = clip_name(row["youtube_id"], row["time_start"], row["time_end"], where=where)
            add_row(rows, LabelRow(name, label, split), where=where)
    return list(rows.values())
