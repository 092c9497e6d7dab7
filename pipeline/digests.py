"""Content digests of files, remembered by path, size and modification time.

A cache: deleting ``digests.sqlite`` costs time, never correctness.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
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
        self._on_hashed = on_hashed

    def __call__(self, path: Path) -> str:
        """Digest of `path`, or ``unreadable: CAUSE``; read only if unknown or changed."""
        name = os.fsencode(path.absolute())
        try:
            stat = path.stat()
            row = self._connection.execute(
                "SELECT sha256 FROM digests WHERE path=? AND size=? AND mtime_ns=?",
                (name, stat.st_size, stat.st_mtime_ns),
            ).fetchone()
            if row:
                return str(row[0])
            digest = file_sha256(path)
        except OSError as error:
            return f"{UNREADABLE}{error.strerror}"
        self._connection.execute(
            "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)",
            (name, stat.st_size, stat.st_mtime_ns, digest),
        )
        if self._on_hashed:
            self._on_hashed(path, stat.st_size)
        return digest

    def close(self) -> None:
        """Close the database."""
        self._connection.close()
