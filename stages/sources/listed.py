"""Videos that official lists name, found among the files of a folder.

Data sets lose videos over the years, and folders hold files that no list names. Neither is
an error: both are counted, and the first few are named.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from pipeline.source import Listing
from stages.sources.folder import VIDEO_EXTENSIONS, some
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow
from storage_schemas.videos import VideoFile


def match(
    rows: Collection[LabelRow], files: Mapping[str, Path], *, digest: Callable[[Path], str]
) -> Listing:
    """Those of the listed videos that are there, and notes on the rest.

    Parameters
    ----------
    rows : collection of LabelRow
        What the lists name, one row a video.
    files : mapping of str -> Path
        By video id. A broken link counts as present: decode quarantines it with its cause.
    digest : callable
        See `pipeline.source.Source.scan`.
    """
    there = sorted(row for row in rows if row.video_id in files)
    videos = []
    for row in there:
        path = files[row.video_id]
        size = path.stat().st_size if path.exists() else 0
        videos.append(VideoFile(row.video_id, digest(path), size, path))
    notes = []
    for split in dict.fromkeys(row.split for row in rows):
        listed = [row.video_id for row in rows if row.split == split]
        missing = sorted(video_id for video_id in listed if video_id not in files)
        if missing:
            notes.append(
                f"{split}: {len(listed) - len(missing)} of {len(listed)} listed videos are there, "
                f"{len(missing)} are missing: {some(missing)}"
            )
    extra = sorted(files.keys() - {row.video_id for row in rows})
    if extra:
        notes.append(f"{len(extra)} files are in no list that is used: {some(extra)}")
    return Listing(videos=videos, labels=there, notes=notes)


def files_by_stem(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Video files below `root` by name without extension, in whatever folders they lie.

    Of two files with one name the first in the order of their paths is taken.

    Returns
    -------
    files : dict of str -> Path
    notes : list of str
        On files of one name.
    """
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in VIDEO_EXTENSIONS and not path.is_dir():
            if path.stem in found:
                twice.append(path.relative_to(root).as_posix())
            else:
                found[path.stem] = path
    notes = [f"{len(twice)} files repeat a name and are not used: {some(twice)}"] if twice else []
    return found, notes


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a CSV file, empty lines left out.

    Raises
    ------
    SourceError
        If the file cannot be read as UTF-8 or as CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def clip_name(youtube_id: str, *seconds: str, where: str) -> str:
    """``<id>_<start>_<end>``, times with six digits; raises `SourceError` naming `where`."""
    try:
        if not youtube_id:
            raise ValueError
        return "_".join([youtube_id, *(f"{int(float(time)):06d}" for time in seconds)])
    except ValueError:
        raise SourceError(
            f"{where}: {youtube_id!r} at {', '.join(map(repr, seconds))} seconds names no clip"
        ) from None


def add_row(rows: dict[str, LabelRow], row: LabelRow, *, where: str) -> None:
    """Take in what a list says at `where` (file and line): a repetition is passed over.

    Raises
    ------
    SourceError
        If the lists contradict each other.
    """
    known = rows.setdefault(row.video_id, row)
    if known != row:
        raise SourceError(
            f"{where}: {row.video_id!r} is listed as {row.label!r} ({row.split}), and before as "
            f"{known.label!r} ({known.split}); remove one"
        )
