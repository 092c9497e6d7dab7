"""The artifact store: a folder of immutable artifacts, each committed by one rename.

::

    store.json                              format of the store
    artifacts/<stage>/<key>/manifest.json   written last, beside the data files
    staging/<key>/                          unfinished work, resumed by the next run
    locks/<key>.lock                        held by the process that computes the key
    runs/, pins/                            what runs were about, see `pipeline.records`
    ledger.jsonl, digests.sqlite            parts of videos; content digests (a cache)
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.locks import lock_file
from storage_schemas.errors import OutOfSpace, StoreError
from storage_schemas.manifest import MANIFEST_NAME, FileEntry, Manifest

STORE_FORMAT = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Store:
    """A store in a local folder, created on first use.

    Parameters
    ----------
    root : Path

    Raises
    ------
    StoreError
        If the folder cannot be used, or a newer tubelet wrote it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        marker = self.root / "store.json"
        try:
            if marker.exists():
                found = json.loads(marker.read_text())["format"]
                if found > STORE_FORMAT:
                    raise StoreError(
                        f"store {self.root} has format {found}, this tubelet reads up to "
                        f"{STORE_FORMAT}; upgrade tubelet, or use another store with --store DIR"
                    )
            for folder in ("artifacts", "staging", "locks", "runs"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                write_atomically(marker, json.dumps({"format": STORE_FORMAT}))
        except OSError as error:
            raise_if_full(error, self.root)
            raise StoreError(
                f"store {self.root} cannot be used: {error.strerror}; choose another --store DIR"
            ) from error

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    @property
    def location(self) -> str:
        """What `open_store` makes the same store of, in another process."""
        return str(self.root)

    def folder(self, key: str) -> Path:
        """Where the artifact lies, or will lie."""
        return self.root / "artifacts" / key.rpartition("-")[0] / key

    def manifest(self, key: str) -> Manifest | None:
        """The manifest if the artifact is whole (every file there, of the right size)."""
        return None if self.damage(key) else self.read_manifest(key)

    def read_manifest(self, key: str) -> Manifest:
        """The manifest as it is on disk, whatever became of the files."""
        path = self.folder(key) / MANIFEST_NAME
        try:
            # A flipped bit may leave no text; escaped, it leaves no JSON.
            text = path.read_text(encoding="utf-8", errors="backslashreplace")
            return Manifest.from_json(text, where=str(path))
        except FileNotFoundError:
            raise StoreError(
                f"the store {self.root} has no artifact {key!r}; `tubelet show STAGE` lists them"
            ) from None

    def damage(self, key: str) -> str | None:
        """Why the artifact is no hit: ``absent``, or the first file missing or cut."""
        folder = self.folder(key)
        if not (folder / MANIFEST_NAME).exists():
            return "absent"
        for name, entry in self.read_manifest(key).files.items():
            try:
                size = (folder / name).stat().st_size
            except OSError:
                return f"{name} is missing"
            if size != entry.bytes:
                return f"{name} has {size} bytes, not {entry.bytes}"
        return None

    def verify(self, key: str) -> list[str]:
        """Differences between the files' digests and the manifest; empty if none."""
        damage = self.damage(key)
        if damage:
            return [damage]
        folder = self.folder(key)
        return [
            f"{name} has sha256 {found[:12]}…, not {entry.sha256[:12]}…"
            for name, entry in self.read_manifest(key).files.items()
            if (found := file_sha256(folder / name)) != entry.sha256
        ]

    def keys(self, stage: str | None = None) -> Iterator[str]:
        """Keys of all artifacts, or of one stage's, oldest first."""
        folders = (
            (self.root / "artifacts").iterdir()
            if stage is None
            else [self.root / "artifacts" / stage]
        )
        found = [
            entry
            for folder in folders
            if folder.is_dir()
            for entry in os.scandir(folder)
            if os.path.exists(os.path.join(entry.path, MANIFEST_NAME))
        ]
        for entry in sorted(found, key=lambda e: (e.stat().st_mtime_ns, e.name)):
            yield entry.name

    def find(self, prefix: str) -> str:
        """The one key that starts with `prefix`; raises `StoreError` if none or several."""
        found = [key for key in self.keys() if key.startswith(prefix)]
        if len(found) != 1:
            raise StoreError(
                f"{len(found)} artifacts of {self.root} start with {prefix!r}; "
                "`tubelet show STAGE` lists the keys of a stage"
            )
        return found[0]

    def staging(self, key: str) -> Path:
        """Folder of unfinished work on a key; call with the key's lock held."""
        folder = self.root / "staging" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def lock(self, key: str) -> lock_file:
        """Context manager that holds the key; freed by the kernel if the holder dies."""
        return lock_file(self.root / "locks" / f"{key}.lock")

    def commit(self, key: str, data: Path, manifest: Manifest) -> None:
        """Turn a staged folder into the artifact, atomically; call with the lock held."""
        write_atomically(data / MANIFEST_NAME, manifest.to_json())
        fsync_folder(data)
        target = self.folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # recomputed on purpose: step aside first, rename cannot replace
            self.discard(key)
        os.rename(data, target)
        fsync_folder(target.parent)
        shutil.rmtree(self.root / "staging" / key, ignore_errors=True)

    def discard(self, key: str) -> None:
        """Remove an artifact: its manifest first, so that no half of it is ever a hit."""
        folder = self.folder(key)
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def open_store(location: str | Path) -> Store:
    """The store at a location, created on first use."""
    return Store(Path(location))


def describe_files(data: Path, rows: dict[str, int]) -> dict[str, FileEntry]:
    """Digest and size of every file below `data`, by relative name, sorted."""
    return {
        (name := str(path.relative_to(data))): FileEntry(
            sha256=file_sha256(path), bytes=path.stat().st_size, rows=rows.get(name, 0)
        )
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, read in large blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def raise_if_full(error: BaseException, where: Path) -> None:
    """Raise `OutOfSpace` if `error` means that no space is left at `where`."""
    full = isinstance(error, OSError) and (
        error.errno in _FULL
        # HDF5 and Arrow wrap the cause in text.
        or any(os.strerror(code).lower() in str(error).lower() for code in _FULL)
    )
    if full:
        raise OutOfSpace(
            f"no space left for {where} ({error}); free some (`tubelet gc`) or choose another "
            "--store DIR, then run the same command again: finished videos are kept"
        ) from error
