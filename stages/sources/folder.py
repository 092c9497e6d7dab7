"""A folder of videos, searched recursively."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.source import Listing, Source
from pipeline.stage import Stage
from stages.sources.folder_labels import from_csv, from_folders, split_notes
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow
from storage_schemas.videos import VideoFile

VIDEO_EXTENSIONS = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".dv",
        ".f4v",
        ".flv",
        ".gif",
        ".h264",
        ".hevc",
        ".ivf",
        ".m1v",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".nut",
        ".ogg",
        ".ogm",
        ".ogv",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)


class Folder(Source, name="folder", version=1):
    """All videos below a folder; a video's id is its path relative to it.

    Files count as videos by their extension, whatever they hold: one that cannot be
    decoded is quarantined later, with its cause. Other files and hidden ones are ignored.
    Links to files are followed, also broken ones; links to folders are not, as they may
    form loops.

    Parameters
    ----------
    path : Path
    labels : {"none", "folders"} or Path
        Classes, which only evaluation needs: the first folder of a video's id, or a CSV file
        with the columns ``video_id`` (the path below the folder), ``label`` and, if it likes,
        ``split``.
    test_share : float
        Share of the videos that are for testing, where no table says so. It is drawn by
        their ids: others that come or go change nobody's split.
    """

    path: Path = Path("videos")
    labels: Literal["none", "folders"] | Path = "none"
    test_share: float = Field(0.2, ge=0, le=1)

    def scan(self, *, digest: Callable[[Path], str], dataset: tuple[Stage, str] | None) -> Listing:
        """List the videos in the order of their ids."""
        root = self.path.expanduser()
        if not root.is_dir():
            kind = "is a file" if root.is_file() else "does not exist"
            raise SourceError(
                f"{root} {kind}; give a folder of videos with --set {self.name}.path=DIR"
            )
        found = _walk(root)
        if not found.files:
            raise SourceError(
                "; ".join([f"{root} holds no video", *found.notes()])
                + f". Known are {' '.join(sorted(VIDEO_EXTENSIONS))}"
            )
        files = dict(sorted(found.files.items()))
        videos = [
            VideoFile(video_id=video_id, digest=digest(path), bytes=_size(path), path=path)
            for video_id, path in files.items()
        ]
        labels = self._labels(list(files))
        notes = found.notes() + (split_notes(labels) if labels else [])
        return Listing(videos=videos, labels=labels, notes=notes)

    def _labels(self, video_ids: Sequence[str]) -> list[LabelRow] | None:
        if self.labels == "none":
            return None
        if self.labels == "folders":
            return from_folders(video_ids, test_share=self.test_share)
        return from_csv(Path(self.labels), video_ids, test_share=self.test_share)


@dataclass
class _Found:
    files: dict[str, Path] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What was left out, in an order that does not depend on the file system."""
        notes = []
        if self.ignored:
            kinds = sorted(self.ignored.items(), key=lambda kind: (-kind[1], kind[0]))
            text = ", ".join(f"{suffix or 'no extension'} {n}" for suffix, n in kinds)
            notes.append(f"{sum(self.ignored.values())} files ignored: {text}")
        if self.links:
            notes.append(f"{len(self.links)} linked folders not followed: {some(self.links)}")
        if self.unreadable:
            notes.append(f"{len(self.unreadable)} folders unreadable: {some(self.unreadable)}")
        return notes


def _walk(root: Path) -> _Found:
    found = _Found()

    def cannot_list(error: OSError) -> None:
        found.unreadable.append(video_id(Path(os.path.relpath(error.filename, root))))

    for folder, folders, names in os.walk(root, onerror=cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            path = Path(folder, name)
            if path.is_symlink():
                found.links.append(video_id(path.relative_to(root)))
        for name in names:
            path = Path(folder, name)
            suffix = path.suffix.lower()
            if name.startswith("."):
                continue
            if suffix not in VIDEO_EXTENSIONS:
                found.ignored[suffix] += 1
                continue
            name_in_keys = video_id(path.relative_to(root))
            if name_in_keys in found.files:
                raise SourceError(
                    f"{root} holds two files that are both {name_in_keys!r} when written as "
                    "UTF-8; rename one"
                )
            found.files[name_in_keys] = path
    return found


def video_id(relative: Path) -> str:
    """Id of a file: its path with ``/``; bytes that are no UTF-8 become escapes."""
    return os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace")


def some(names: Collection[str], shown: int = 3) -> str:
    """The first names in alphabetical order, and a sign that there are more."""
    return ", ".join(sorted(names)[:shown]) + (", …" if len(names) > shown else "")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a broken link: decode quarantines it with its cause
        return 0
