"""A file of a data source as a listing saw it, before anything of it was read.

Digests of content are the same wherever the file lies, so moving it changes no key.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from pipeline import remote
from pipeline.remote import is_url
from pipeline.store import file_sha256
from storage_schemas.videos import UNREADABLE, VideoFile


class FoundFile(NamedTuple):
    """A file, an object, or a folder that holds the frames of a video as images.

    Parameters
    ----------
    place : str
        Absolute path, or URL.
    size : int
        Bytes, of a folder those of the files in it; 0 if it cannot be read.
    stamp : int or str
        Another one tells that the content changed: the time of modification in nanoseconds;
        of an object, its ETag; of a folder, 63 bits of the names, sizes and times of the files
        in it.
    cause : str
        Why it cannot be read, such as a broken link; empty if it can.
    """

    place: str
    size: int
    stamp: int | str
    cause: str = ""

    @classmethod
    def at(cls, path: Path | os.DirEntry[str], *, place: str = "") -> FoundFile:
        """The file at a path, or of an entry of a folder, whose state costs less to learn."""
        place = place or str(Path(path).absolute())
        try:
            stat = path.stat()
            if S_ISDIR(stat.st_mode):
                return cls(place, *_folder_state(place))
            return cls(place, stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            return cls(place, 0, 0, error.strerror or str(error))

    def content_sha256(self) -> str:
        """Digest of the content, read now, or ``unreadable: CAUSE``.

        That of a folder is of the names and contents of the files in it.
        """
        if self.cause:
            return f"{UNREADABLE}{self.cause}"
        try:
            if is_url(self.place):
                return remote.content_sha256(self.place, self.size)
            path = Path(self.place)
            return _folder_sha256(path) if path.is_dir() else file_sha256(path)
        except OSError as error:
            return f"{UNREADABLE}{error.strerror or error}"

    def video(self, video_id: str, digest: str) -> VideoFile:
        """The video that it is."""
        return VideoFile(video_id, digest, self.size, self.place)


def _files(folder: str | Path) -> list[os.DirEntry[str]]:
    """Files of a folder but hidden ones, by name."""
    with os.scandir(folder) as entries:
        files = [e for e in entries if not e.name.startswith(".") and not e.is_dir()]
    return sorted(files, key=lambda entry: entry.name)


def _folder_state(folder: str) -> tuple[int, int]:
    stats = [(entry.name, entry.stat()) for entry in _files(folder)]
    states = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    bits = sha256(repr(states).encode("utf-8", "surrogateescape")).digest()[:8]
    return sum(size for _, size, _ in states), int.from_bytes(bits) >> 1


def _folder_sha256(folder: Path) -> str:
    files = ((entry.name, file_sha256(Path(entry.path))) for entry in _files(folder))
    lines = "".join(f"{digest}  {name}\n" for name, digest in files)
    return sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
