"""Videos that official lists name, found among the files of a folder.

Data sets lose videos over the years, and folders hold files that no list names. Neither is
an error: both are counted, and the first few are named.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR

from pipeline.digests import UNREADABLE
from pipeline.source import Listing
from stages.sources.folder import VIDEO_EXTENSIONS, some
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow
from storage_schemas.videos import VideoFile


def match(
    rows: Collection[LabelRow],
    files: Mapping[str, Path],
    *,
    digest: Callable[[Path], str],
    official: Mapping[str, int] | None = None,
    unused: Collection[str] = (),
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
    official : mapping of str -> int, optional
        Split -> videos that the published list has; each is compared with what is there.
    unused : collection of str
        Ids of videos that the lists name but do not use.
    """
    there = sorted(row for row in rows if row.video_id in files)
    videos = [
        VideoFile(row.video_id, digest(path), size_of(path), path)
        for row in there
        for path in [files[row.video_id]]
    ]
    notes = []
    for split in dict.fromkeys([*(official or ()), *(row.split for row in rows)]):
        listed = [row.video_id for row in rows if row.split == split]
        missing = sorted(video_id for video_id in listed if video_id not in files)
        note = count_note(split, len(listed), missing, (official or {}).get(split))
        notes += [note] if note else []
    extra = sorted(files.keys() - {row.video_id for row in rows} - set(unused))
    if extra:
        notes.append(f"{len(extra)} files are in no list that is used: {some(extra)}")
    return Listing(videos=videos, labels=there, notes=notes)


def count_note(split: str, listed: int, missing: Sequence[str], official: int | None) -> str | None:
    """How many videos of a split are there, beside the list and the `official` count.

    None where nothing is missing and no official count is known.
    """
    there = listed - len(missing)
    if official is not None and official == listed == there:
        return f"{split}: all {there} official videos are there"
    if official is None and not missing:
        return None
    note = f"{split}: {there} of {listed} listed videos are there"
    if official is not None and official != listed:
        note += f" (the official list has {official})"
    return f"{note}, {len(missing)} are missing: {some(missing)}" if missing else note


def annotation_of(video_id: str, path: Path, *, digest: str) -> VideoFile:
    """A file of annotations under the id of the video that it is about.

    Files of two videos may be equal, or one and the same; they are no duplicates, so the id
    is in the digest.
    """
    own = sha256(f"{digest} {video_id}".encode("utf-8", "surrogateescape")).hexdigest()
    return VideoFile(
        video_id, digest if digest.startswith(UNREADABLE) else own, size_of(path), path
    )


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files in a folder of images; 0 of a broken link."""
    try:
        stat = path.stat()
        if S_ISDIR(stat.st_mode):
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return stat.st_size
    except OSError:
        return 0


def in_class_folder(path: Path) -> str:
    """``<Class>/<file>``: how lists name a video that lies in a folder of its class."""
    return f"{path.parent.name}/{path.name}"


def find_videos(
    root: Path, name: Callable[[Path], str] = lambda path: path.stem
) -> tuple[dict[str, Path], list[str]]:
    """Video files below `root` by name, in whatever folders they lie; hidden ones are not seen.

    Of two files with one name the first is taken, folders in the order of their names.

    Parameters
    ----------
    root : Path
    name : callable
        What a file is called; by default its name without extension.

    Returns
    -------
    files : dict of str -> Path
    notes : list of str
        On files of one name.
    """
    found: dict[str, Path] = {}
    twice = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if file.startswith(".") or os.path.splitext(file)[1].lower() not in VIDEO_EXTENSIONS:
                continue
            path = Path(folder, file)
            if found.setdefault(name(path), path) is not path:
                twice.append(path.relative_to(root).as_posix())
    notes = [f"{len(twice)} files repeat a name and are not used: {some(twice)}"] if twice else []
    return found, notes


def ignoring_case(files: Mapping[str, Path], ids: Collection[str]) -> dict[str, Path]:
    """The files, renamed to the ids that they differ from in letter case only."""
    by_case = {video_id.lower(): video_id for video_id in ids if video_id not in files}
    return {
        name if name in ids else by_case.get(name.lower(), name): path
        for name, path in files.items()
    }


def first_file(folders: Iterable[Path], names: Sequence[str]) -> Path | None:
    """The first of the files that exists, folder by folder."""
    return next((f / name for f in folders for name in names if (f / name).is_file()), None)


def read_csv(path: Path, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a CSV file, empty lines left out.

    Raises
    ------
    SourceError
        If the file cannot be read as UTF-8 or as CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=delimiter)
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
