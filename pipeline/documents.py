"""Small texts that a store keeps beside its artifacts: records, pins, the ledger.

They go by names such as ``runs/demo.json``; where they lie is the store's business
(`pipeline.store`, `pipeline.object_store`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.locks import lock_file


class Documents:
    """Texts in files of a folder.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str) -> list[str]:
        """Names of the documents in a folder and below it, sorted."""
        paths = (self._root / folder).rglob("*.json")
        return sorted(str(path.relative_to(self._root)) for path in paths)

    def read(self, name: str) -> str | None:
        """The text; None if there is none."""
        try:
            return (self._root / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def read_all(self, names: Sequence[str]) -> dict[str, str]:
        """The texts of those names that are there, in their order."""
        texts = zip(names, map(self.read, names), strict=True)
        return {name: text for name, text in texts if text is not None}

    def write(self, name: str, text: str) -> None:
        """Keep a text, in the place of an older one; a reader sees one of them, never half."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)

    def remove(self, name: str) -> bool:
        """Forget a text; False if there was none."""
        try:
            (self._root / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def lines(self, name: str) -> list[str]:
        """All lines that `append` has ever added under this name."""
        path = self._root / f"{name}.jsonl"
        if not path.exists():
            return []
        # What follows the last newline was cut off by a kill and was never used.
        return [line.decode() for line in path.read_bytes().split(b"\n")[:-1]]

    def append(self, name: str, lines: Sequence[str], *, after: int) -> bool:
        """Add lines for ever, if there are `after` of them; else False: read and decide anew.

        So two that append at the same moment never give one place to two lines.
        """
        path = self._root / f"{name}.jsonl"
        with lock_file(path.with_suffix(".lock")):
            if len(self.lines(name)) != after:
                return False
            with path.open("ab+") as file:
                content_end = file.seek(0, os.SEEK_END)
                file.seek(0)
                whole = file.read().rfind(b"\n") + 1
                if whole != content_end:
                    file.truncate(whole)
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
        return True


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
