"""The item journal: what a child process tells its parent, one JSON line an event.

It lies in the staging folder and outlives both processes, so a resumed run knows which
videos were rejected and which were being worked on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Append-only lines, ``{"event": ..., ...}``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # A kill may have cut the last line; a newline keeps the next one whole.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")

    def write(self, event: str, **content: Any) -> None:
        """Append one event."""
        line = json.dumps({"event": event, **content}) + "\n"
        os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class JournalReader:
    """Reads events as they come; keeps its place in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def read(self) -> list[dict[str, Any]]:
        """Whole events written since the last call; a line cut by a kill is passed over."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._position:
                self._position = 0  # another file: a forced run began anew
            file.seek(self._position)
            content = file.read()
        whole = content.rfind(b"\n") + 1
        self._position += whole
        events = []
        for line in content[:whole].splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events
