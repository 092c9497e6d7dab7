"""The video files below a folder or a URL, found in one pass."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import remote
from pipeline.found_file import FoundFile
from pipeline.remote import Url

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


@dataclass
class Walk:
    """What lies below a folder.

    Parameters
    ----------
    files : dict of str -> FoundFile
        Video files by their path relative to the folder; those of a folder before those of
        the folders in it, each in the order of their names.
    ignored : Counter of str
        Extension -> number of other files. Hidden ones are not counted.
    links, unreadable : list of str
        Linked folders, which are not followed, and those that cannot be listed; as `video_id`.
    """

    files: dict[str, FoundFile] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def is_video(self, name: str) -> bool:
        """Whether a file's name is that of a video; if not, it is counted."""
        dot = name.rfind(".")
        suffix = name[dot:].lower() if 0 < dot < len(name) - 1 else ""
        if suffix not in VIDEO_EXTENSIONS:
            self.ignored[suffix] += 1
        return suffix in VIDEO_EXTENSIONS

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


def walk(root: Path | Url) -> Walk:
    """Look at all that lies below a folder or a URL, once; hidden files are not seen.

    Links to files are followed, also broken ones; links to folders are not, as they may form
    loops. Of objects only those are seen whose names would do as paths.
    """
    return _objects(root) if isinstance(root, str) else _files(root)


def _objects(url: Url) -> Walk:
    found = Walk()
    top = url.rstrip("/")
    objects = remote.find(url)
    for path in sorted(objects, key=lambda path: (path.split("/")[:-1], path)):
        parts = path.split("/")
        if all(part and not part.startswith(".") for part in parts) and found.is_video(parts[-1]):
            found.files[path] = FoundFile(f"{top}/{path}", *objects[path])
    return found


def _files(root: Path) -> Walk:
    found = Walk()
    top = str(root.absolute()).rstrip("/")
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(f"{top}/{folder}" if folder else top or "/") as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            found.unreadable.append(video_id(folder) or ".")
            continue
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not _is_folder(entry):
                if found.is_video(entry.name):
                    found.files[path] = FoundFile.at(entry, place=f"{top}/{path}")
            elif entry.is_symlink():
                found.links.append(video_id(path))
            else:
                below.append(path)
        folders += reversed(below)
    return found


def video_id(path: str) -> str:
    """Id of a file: its path below the folder; bytes that are no UTF-8 become escapes."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def some(names: Collection[str], shown: int = 3) -> str:
    """The first names in alphabetical order, and a sign that there are more."""
    return ", ".join(sorted(names)[:shown]) + (", …" if len(names) > shown else "")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that cannot be followed
        return False
