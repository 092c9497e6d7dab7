"""Videos that official lists name, found among the files of a folder.

Data sets lose videos over the years, and folders hold files that no list names. Neither is
an error: both are counted, and the first few are named.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from pipeline.found_file import FoundFile
from pipeline.source import Digest, Listing
from stages.sources.walk import some, walk
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow
from storage_schemas.videos import UNREADABLE, VideoFile

Files = Mapping[str, FoundFile | Path]  # by video id


def match(
    rows: Collection[LabelRow],
    files: Files,
    *,
    digest: Digest,
    official: Mapping[str, int] | None = None,
    unused: Collection[str] = (),
) -> Listing:
    """Those of the listed videos that are there, and notes on the rest.

    Parameters
    ----------
    rows : collection of LabelRow
        What the lists name, one row a video.
    files : mapping of str -> FoundFile or Path
        A broken link counts as present: decode quarantines it with its cause.
    digest : callable
        See `pipeline.source.Source.scan`.
    official : mapping of str -> int, optional
        Split -> videos that the published list has; each is compared with what is there.
    unused : collection of str
        Ids of videos that the lists name but do not use.
    """
    there = sorted(row for row in rows if row.video_id in files)
    chosen = [found_file(files[row.video_id]) for row in there]
    contents = digest(chosen)
    videos = [
        file.video(row.video_id, content)
        for row, file, content in zip(there, chosen, contents, strict=True)
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


def found_file(file: FoundFile | Path) -> FoundFile:
    """The state of a file, or of a folder of images, that was found by its name only."""
    return FoundFile.at(file) if isinstance(file, Path) else file


def annotation_of(video_id: str, file: FoundFile, *, digest: str) -> VideoFile:
    """A file of annotations under the id of the video that it is about.

    Files of two videos may be equal, or one and the same; they are no duplicates, so the id
    is in the digest.
    """
    own = sha256(f"{digest} {video_id}".encode("utf-8", "surrogateescape")).hexdigest()
    return file.video(video_id, digest if digest.startswith(UNREADABLE) else own)


def stem(path: str) -> str:
    """A file's name without its extension."""
    return path.rpartition("/")[2].rpartition(".")[0]


def in_class_folder(path: str | Path) -> str:
    """``<Class>/<file>``: how lists name a video that lies in a folder of its class."""
    return "/".join(str(path).split("/")[-2:])


def find_videos(
    root: Path, name: Callable[[str], str] = stem
) -> tuple[dict[str, FoundFile], list[str]]:
    """Video files below `root` by name, in whatever folders they lie; hidden ones are not seen.

    Of two files with one name the first is taken, folders in the order of their names.

    Parameters
    ----------
    root : Path
    name : callable
        What a file is called, by its place; by default its name without extension.

    Returns
    -------
    files : dict of str -> FoundFile
    notes : list of str
        On files of one name.
    """
    found: dict[str, FoundFile] = {}
    twice = []
    for path, file in walk(root).files.items():
        if found.setdefault(name(file.place), file) is not file:
            twice.append(path)
    notes = [f"{len(twice)} files repeat a name and are not used: {some(twice)}"] if twice else []
    return found, notes


def ignoring_case(files: Files, ids: Collection[str]) -> Files:
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
