"""The artifact store: a folder of immutable artifacts, each committed by one rename.

::

    store.json                              format of the store
    artifacts/<stage>/<key>/manifest.json   written last, beside the data files
    staging/<key>/                          unfinished work, resumed by the next run
    locks/<key>.lock                        held by the process that computes the key
    runs/, pins/                            what runs were about, see `pipeline.records`
    ledger.jsonl, digests.sqlite            parts of videos; content digests (a cache)

`pipeline.object_store` is the same in a bucket.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.documents import Documents, write_atomically
from pipeline.locks import lock_file
from storage_schemas.errors import OutOfSpace, StoreError
from storage_schemas.manifest import MANIFEST_NAME, ArtifactView, FileEntry, Manifest

STORE_FORMAT = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Store:
    """A store in a local folder, created on first use.

    Parameters
    ----------
    root : Path

    Attributes
    ----------
    root : Path
        Where this machine works on it: staging, locks, digests. The rest is asked for below.
    documents : Documents
        Records of runs, pins, the ledger.

    Raises
    ------
    StoreError
        If the folder cannot be used, or a newer tubelet wrote it.
    """

    documents: Documents

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.documents = Documents(self.root)
        marker = self.root / "store.json"
        try:
            if marker.exists():
                check_format(json.loads(marker.read_text()), str(self.root))
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

    def place(self, key: str, name: str = "") -> str:
        """Where the artifact, or one of its files, is kept, for people."""
        return str(self._folder(key) / name)

    def folder(self, key: str) -> Path:
        """A folder with the artifact's files, to be read only."""
        return self.folders([key])[0]

    def folders(self, keys: Sequence[str]) -> list[Path]:
        """`folder` of each key."""
        return [self._folder(key) for key in keys]

    def file(self, key: str, name: str) -> Path | None:
        """One of the artifact's files, to be read only; None if it has none of this name."""
        path = self._folder(key) / name
        return path if path.exists() else None

    def view(self, manifest: Manifest) -> ArtifactView:
        """What a report is given of an artifact."""
        return ArtifactView(
            manifest,
            open_folder=lambda: self.folder(manifest.key),
            open_file=lambda name: self.file(manifest.key, name),
        )

    def _folder(self, key: str) -> Path:
        return self.root / "artifacts" / key.rpartition("-")[0] / key

    def manifest(self, key: str) -> Manifest | None:
        """The manifest if the artifact is whole (every file there, of the right size)."""
        return self.manifests([key]).get(key)

    def manifests(self, keys: Sequence[str]) -> dict[str, Manifest]:
        """`manifest` of those keys whose artifact is whole."""
        whole = [key for key, damage in self.damages(keys).items() if damage is None]
        return dict(zip(whole, self.read_manifests(whole), strict=True))

    def read_manifest(self, key: str) -> Manifest:
        """The manifest as it is kept, whatever became of the files."""
        return self.read_manifests([key])[0]

    def read_manifests(self, keys: Sequence[str]) -> list[Manifest]:
        """`read_manifest` of each key."""
        return [self._read_manifest(key) for key in keys]

    def _read_manifest(self, key: str) -> Manifest:
        path = self._folder(key) / MANIFEST_NAME
        try:
            # A flipped bit may leave no text; escaped, it leaves no JSON.
            text = path.read_text(encoding="utf-8", errors="backslashreplace")
            return Manifest.from_json(text, where=str(path))
        except FileNotFoundError:
            raise self._no_artifact(key) from None

    def _no_artifact(self, key: str) -> StoreError:
        return StoreError(
            f"the store {self.location} has no artifact {key!r}; `tubelet show STAGE` lists them"
        )

    def damage(self, key: str) -> str | None:
        """Why the artifact is no hit: ``absent``, or the first file missing or cut."""
        return self.damages([key])[key]

    def damages(self, keys: Sequence[str]) -> dict[str, str | None]:
        """`damage` of each key."""
        return {key: self._damage(key) for key in keys}

    def _damage(self, key: str) -> str | None:
        folder = self._folder(key)
        if not (folder / MANIFEST_NAME).exists():
            return "absent"
        for name, entry in self._read_manifest(key).files.items():
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
        return [
            f"{name} has sha256 {found[:12]}…, not {entry.sha256[:12]}…"
            for name, entry in self.read_manifest(key).files.items()
            if (found := self._sha256(key, name)) != entry.sha256
        ]

    def _sha256(self, key: str, name: str) -> str:
        return file_sha256(self._folder(key) / name)

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

    def staging(self, key: str) -> Path:
        """Folder of unfinished work on a key; call with the key's lock held."""
        folder = self.root / "staging" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finished(self, key: str) -> int:
        """How many videos of unfinished work on a key are done already."""
        items = self.root / "staging" / key / "items"
        if not items.is_dir():
            return 0
        return sum(not name.endswith(".tmp") for name in os.listdir(items))

    def creates_once(self) -> bool:
        """Whether of two that commit one key at the same moment really one wins here."""
        return True

    def lock(self, key: str) -> lock_file:
        """Context manager that holds the key; freed by the kernel if the holder dies."""
        return lock_file(self.root / "locks" / f"{key}.lock")

    def commit(
        self, key: str, data: Path, manifest: Manifest, *, replace: bool = False
    ) -> Manifest:
        """Turn a staged folder into the artifact, atomically; call with the lock held.

        `replace` says that an artifact which is whole is computed anew on purpose.

        Returns
        -------
        Manifest
            The given one, or that of another machine which was quicker.
        """
        write_atomically(data / MANIFEST_NAME, manifest.to_json())
        fsync_folder(data)
        target = self._folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # step aside first, rename cannot replace
            self.discard(key)
        os.rename(data, target)
        fsync_folder(target.parent)
        shutil.rmtree(self.root / "staging" / key, ignore_errors=True)
        return manifest

    def discard(self, key: str) -> None:
        """Remove an artifact: its manifest first, so that no half of it is ever a hit.

        Also takes a name that `remains` gives.
        """
        folder = self._folder(key)
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def remains(self) -> dict[str, int]:
        """Bytes of what is left of interrupted removals and commits, by name."""
        folders = sorted((self.root / "artifacts").glob("*/*"))
        return {
            folder.name: folder_bytes(folder)
            for folder in folders
            if not (folder / MANIFEST_NAME).exists()
        }

    def copies(self) -> dict[str, int]:
        """Bytes of copies on this machine that have not been used for long, by name."""
        return {}

    def discard_copy(self, name: str) -> None:
        """Remove a copy that `copies` names; who needs it gets it again."""
        raise NotImplementedError


def open_store(location: str | Path) -> Store:
    """The store at a location, a folder or ``s3://BUCKET/PREFIX``, created on first use."""
    if re.match(r"[a-z0-9]+:/", str(location)):  # one slash: `Path` has made it of two
        from pipeline.object_store import ObjectStore

        return ObjectStore(str(location))
    return Store(Path(location).expanduser())


def check_format(marker: Mapping[str, Any], location: str) -> None:
    """Raise `StoreError` if a newer tubelet wrote the store whose ``store.json`` this is."""
    if marker["format"] > STORE_FORMAT:
        raise StoreError(
            f"store {location} has format {marker['format']}, this tubelet reads up to "
            f"{STORE_FORMAT}; upgrade tubelet, or use another store with --store DIR"
        )


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


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
