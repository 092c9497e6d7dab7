"""Content digests of files, remembered by path, size and modification time.

A folder (the frames of a video as images) has one digest, of the names and contents of the
files in it; it is remembered by their names, sizes and times together.

A cache: deleting ``digests.sqlite`` costs time, never correctness.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path

from pipeline.store import file_sha256

UNREADABLE = "unreadable: "


class Digests:
    """SHA-256 by path.

    Parameters
    ----------
    database : Path
    on_hashed : callable, optional
        ``on_hashed(path, size)`` after each file that really had to be read.
    """

    def __init__(
        self, database: Path, *, on_hashed: Callable[[Path, int], None] | None = None
    ) -> None:
        self._connection = sqlite3.connect(database, timeout=60, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS digests "
            "(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT) WITHOUT ROWID"
        )
        # A row is a commit; to wait for the disk each time took 20 ms, more than most videos.
        # What a power failure may cost is a cache.
        self._connection.execute("PRAGMA synchronous=OFF")
        self._on_hashed = on_hashed

    def __call__(self, path: Path) -> str:
        """Digest of `path`, or ``unreadable: CAUSE``; read only if unknown or changed."""
        name = os.fsencode(path.absolute())
        try:
            state = _folder_state(path) if path.is_dir() else _state(path.stat())
            row = self._connection.execute(
                "SELECT sha256 FROM digests WHERE path=? AND size=? AND mtime_ns=?",
                (name, *state),
            ).fetchone()
            if row:
                return str(row[0])
            digest = _folder_sha256(path) if path.is_dir() else file_sha256(path)
        except OSError as error:
            return f"{UNREADABLE}{error.strerror}"
        self._connection.execute(
            "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (name, *state, digest)
        )
        if self._on_hashed:
            self._on_hashed(path, state[0])
        return digest

    def places(self, digests: Collection[str]) -> dict[str, list[Path]]:
        """Digest -> files that had this content when they were last read, by name."""
        found: dict[str, list[Path]] = {}
        for name, digest in self._connection.execute("SELECT path, sha256 FROM digests"):
            if digest in digests:
                found.setdefault(digest, []).append(Path(os.fsdecode(name)))
        return {digest: sorted(paths) for digest, paths in found.items()}

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def _state(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _files(folder: Path) -> list[os.DirEntry[str]]:
    """Files of a folder but hidden ones, by name."""
    with os.scandir(folder) as entries:
        files = [e for e in entries if not e.name.startswith(".") and not e.is_dir()]
    return sorted(files, key=lambda entry: entry.name)


def _folder_state(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and in place of a time 63 bits of their names, sizes and times."""
    states = [(entry.name, *_state(entry.stat())) for entry in _files(folder)]
    bits = sha256(repr(states).encode("utf-8", "surrogateescape")).digest()[:8]
    return sum(size for _, size, _ in states), int.from_bytes(bits) >> 1


def _folder_sha256(folder: Path) -> str:
    files = ((entry.name, file_sha256(Path(entry.path))) for entry in _files(folder))
    lines = "".join(f"{digest}  {name}\n" for name, digest in files)
    return sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
