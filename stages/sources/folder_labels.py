"""Classes and splits of a user's own videos: from folder names, or from a CSV file."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import IO

from pipeline.remote import Url, read_text
from storage_schemas.errors import SourceError
from storage_schemas.labels import SPLITS, LabelRow

_COLUMNS = ("video_id", "label", "split")


def from_folders(video_ids: Sequence[str], *, test_share: float) -> list[LabelRow]:
    """The first folder of each video is its class; see `drawn_split`.

    Raises
    ------
    SourceError
        If a video lies in no folder.
    """
    loose = [video_id for video_id in video_ids if "/" not in video_id]
    if loose:
        raise SourceError(
            f"{len(loose)} videos lie in no class folder, the first is {loose[0]!r}: with "
            "labels=folders each must be CLASS/.../FILE; or give a CSV file as labels"
        )
    return [
        LabelRow(video_id, video_id.partition("/")[0], drawn_split(video_id, test_share=test_share))
        for video_id in video_ids
    ]


def from_csv(path: Path | Url, video_ids: Sequence[str], *, test_share: float) -> list[LabelRow]:
    """Rows of a table with the columns ``video_id``, ``label`` and, if it likes, ``split``.

    A video that it does not list has no class and is for training; an empty split is drawn.

    Raises
    ------
    SourceError
        If the file cannot be read, lacks a column, lists a video twice, has an unknown split,
        or names none of the videos.
    """
    try:
        with _opened(path) as file:
            table = csv.DictReader(file)
            columns = tuple(table.fieldnames or ())
            lines = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); labels is none, "
            "folders or the path of a CSV file"
        ) from error
    if not {"video_id", "label"} <= set(columns):
        raise SourceError(
            f"{path} has the columns {', '.join(columns) or 'none'}; it needs video_id and label, "
            "and may have split"
        )
    rows: dict[str, LabelRow] = {}
    for number, line in lines:
        video_id, label, split = ((line.get(name) or "").strip() for name in _COLUMNS)
        if video_id in rows:
            raise SourceError(f"{path}:{number}: {video_id!r} is listed twice")
        split = split or drawn_split(video_id, test_share=test_share)
        if split not in SPLITS:
            raise SourceError(f"{path}:{number}: split {split!r} is not one of {SPLITS}")
        rows[video_id] = LabelRow(video_id, label, split)
    if rows.keys().isdisjoint(video_ids):
        raise SourceError(
            f"{path} names none of the {len(video_ids)} videos; its first is "
            f"{next(iter(rows), '(none)')!r}, the folder's first {video_ids[0]!r}: video_id is the "
            "path below the folder"
        )
    return [rows.get(video_id) or LabelRow(video_id, "", "train") for video_id in video_ids]


def _opened(path: Path | Url) -> IO[str]:
    if isinstance(path, str):
        return StringIO(read_text(path), newline="")
    return path.expanduser().open(encoding="utf-8-sig", newline="")


def split_notes(rows: Sequence[LabelRow]) -> list[str]:
    """What makes the numbers of a test say little: classes that it, or training, lacks."""
    classes = {row.label for row in rows if row.label}
    notes = []
    for split in ("train", "test"):
        lacking = classes - {row.label for row in rows if row.split == split}
        if lacking:
            notes.append(
                f"{len(lacking)} of {len(classes)} classes have no {split} video, such as "
                f"{min(lacking)!r}: change folder.test_share, or name splits in a CSV file"
            )
    return notes


def drawn_split(video_id: str, *, test_share: float) -> str:
    """``test`` for about that share of all ids: a video keeps its split when others come.

    Drawn from the SHA-256 of the id, so it is the same on every machine.
    """
    drawn = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8]) / 2**64
    return "test" if drawn < test_share else "train"
