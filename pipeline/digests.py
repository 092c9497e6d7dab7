"""Content digests of files, remembered by place, size and stamp (`pipeline.found_file`).

A cache: deleting ``digests.sqlite`` costs time, never correctness.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from pipeline.found_file import FoundFile
from pipeline.remote import is_url
from storage_schemas.videos import UNREADABLE

_ASKED_AT_ONCE = 900  # SQLite may be built to take no more than 999 values
_SECONDS_UNSAVED = 1.0
_OBJECTS_AT_ONCE = 8  # as each waits for the network

_Row = tuple[bytes, int, int | str, str]


class Digests:
    """SHA-256 by place.

    Parameters
    ----------
    database : Path
    on_hashed : callable, optional
        ``on_hashed(place, size)`` after each file that really had to be read.
    """

    def __init__(
        self, database: Path, *, on_hashed: Callable[[str, int], None] | None = None
    ) -> None:
        self._connection = sqlite3.connect(database, timeout=60, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS digests "
            "(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT) WITHOUT ROWID"
        )
        # To wait for the disk at each commit took 20 ms, more than most videos. What a power
        # failure may cost is a cache.
        self._connection.execute("PRAGMA synchronous=OFF")
        self._on_hashed = on_hashed

    def __call__(self, files: Sequence[FoundFile]) -> list[str]:
        """Digest of each file, or ``unreadable: CAUSE``; read only if unknown or changed."""
        names = [os.fsencode(file.place) for file in files]
        rows = self._rows(names)
        digests = {
            name: row[3]
            for name, file in zip(names, files, strict=True)
            if (row := rows.get(name)) and row[1:3] == (file.size, file.stamp) and not file.cause
        }
        unknown = {n: file for n, file in zip(names, files, strict=True) if n not in digests}
        if unknown:
            digests |= self._read(unknown)
        return [digests[name] for name in names]

    def _rows(self, names: Sequence[bytes]) -> dict[bytes, _Row]:
        rows: dict[bytes, _Row] = {}
        for start in range(0, len(names), _ASKED_AT_ONCE):
            asked = names[start : start + _ASKED_AT_ONCE]
            query = f"SELECT * FROM digests WHERE path IN ({','.join('?' * len(asked))})"
            rows.update((row[0], row) for row in self._connection.execute(query, asked))
        return rows

    def _read(self, files: Mapping[bytes, FoundFile]) -> dict[bytes, str]:
        digests: dict[bytes, str] = {}
        unsaved: list[_Row] = []
        saved = time.monotonic()
        with closing(_contents(list(files.values()))) as contents:  # an interrupt ends it, too
            try:
                for (name, file), digest in zip(files.items(), contents, strict=True):
                    digests[name] = digest
                    if digest.startswith(UNREADABLE):
                        continue
                    unsaved.append((name, file.size, file.stamp, digest))
                    if self._on_hashed:
                        self._on_hashed(file.place, file.size)
                    if time.monotonic() > saved + _SECONDS_UNSAVED:
                        self._save(unsaved)
                        unsaved, saved = [], time.monotonic()
            finally:
                self._save(unsaved)
        return digests

    def _save(self, rows: Sequence[_Row]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:  # commits
            self._connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)

    def places(self, digests: Collection[str]) -> dict[str, list[str]]:
        """Digest -> files that had this content when they were last read, by name."""
        found: dict[str, list[str]] = {}
        for name, digest in self._connection.execute("SELECT path, sha256 FROM digests"):
            if digest in digests:
                found.setdefault(digest, []).append(os.fsdecode(name))
        return {digest: sorted(places) for digest, places in found.items()}

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def _contents(files: Sequence[FoundFile]) -> Generator[str]:
    """Digests of files that are read now, in order."""
    if not any(is_url(file.place) for file in files):
        yield from (file.content_sha256() for file in files)
        return
    with ThreadPoolExecutor(_OBJECTS_AT_ONCE, thread_name_prefix="tubelet-digest") as pool:
        yield from pool.map(FoundFile.content_sha256, files)
