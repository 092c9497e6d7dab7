"""Manifests of a bucket that this machine has read before, by the ETag they had.

A cache: deleting ``manifests.sqlite`` costs time, never correctness.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path


class ManifestCache:
    """Texts of manifests.

    Parameters
    ----------
    database : Path
        Opened for each call, so that threads and processes may share it.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        with closing(self._connect()) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS manifests "
                "(key TEXT PRIMARY KEY, etag TEXT, text TEXT) WITHOUT ROWID"
            )

    def read(self, etags: Mapping[str, str]) -> dict[str, str]:
        """Texts of those keys that are known as they are now; `etags` says how that is."""
        if not etags:
            return {}
        with closing(self._connect()) as connection:
            connection.execute("CREATE TEMP TABLE wanted (key TEXT PRIMARY KEY, etag TEXT)")
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO wanted VALUES (?, ?)", etags.items())
            return dict(
                connection.execute(
                    "SELECT key, text FROM wanted JOIN manifests USING (key, etag)"
                ).fetchall()
            )

    def write(self, texts: Mapping[str, tuple[str, str]]) -> None:
        """Remember key -> (etag, text)."""
        if not texts:
            return
        rows = [(key, *pair) for key, pair in texts.items()]
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO manifests VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._database, timeout=60, isolation_level=None)
        connection.execute("PRAGMA synchronous=OFF")  # what a power failure may cost is a cache
        return connection
