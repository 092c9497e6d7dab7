"""Garbage collection: what no recipe's last run and no pinned run refers to any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from pipeline.records import recorded_keys
from pipeline.store import Store, folder_bytes
from storage_schemas.errors import StoreError

Kind = Literal["artifact", "remains", "staging", "temporary", "lock", "copy"]


@dataclass(frozen=True)
class Garbage:
    """Something that may go.

    ``artifact``; ``remains`` of one whose removal, or upload, was interrupted; ``staging``,
    unfinished work of a run that nobody remembers; ``temporary``, a small file that a process
    left when it died while writing it; ``lock``, the empty lock file of a key that is nothing
    else; ``copy``, of an artifact in a bucket, which this machine has not used for long.
    """

    key: str
    kind: Kind
    bytes: int

    @property
    def stage(self) -> str:
        """Stage of its key; empty for what has none."""
        return self.key.rpartition("-")[0] if self.kind != "temporary" else ""


def find_garbage(store: Store, *, keep: Iterable[str] = ()) -> list[Garbage]:
    """What neither a recorded run nor `keep` rests on, and leftovers of dead processes.

    Parameters
    ----------
    store : Store
    keep : iterable of str
        Further keys to keep, with all they rest on.
    """
    live = reached(store, keep)
    keys = list(store.keys())
    manifests = store.read_manifests([key for key in keys if key not in live])
    found = [Garbage(manifest.key, "artifact", manifest.bytes) for manifest in manifests]
    found += [Garbage(name, "remains", size) for name, size in store.remains().items()]
    found += [Garbage(name, "copy", size) for name, size in store.copies().items()]
    for key, size in staged(store).items():
        if key not in live:
            found.append(Garbage(key, "staging", size))
    known = {*keys, *live, *(garbage.key for garbage in found)}
    for path in sorted((store.root / "locks").glob("*-*.lock")):
        if path.stem not in known:
            found.append(Garbage(path.stem, "lock", 0))
    for pattern in (".*.tmp", "runs/.*.tmp", "runs/*/.*.tmp", "pins/.*.tmp"):
        for path in sorted(store.root.glob(pattern)):
            if _writer_is_dead(path):
                name = str(path.relative_to(store.root))
                found.append(Garbage(name, "temporary", path.stat().st_size))
    return found


def reached(store: Store, keep: Iterable[str] = ()) -> set[str]:
    """Keys that recorded and pinned runs, and `keep`, rest on, in the store or not."""
    live: set[str] = set()
    pending = {*recorded_keys(store), *keep}
    while pending:
        live |= pending
        damages = store.damages(sorted(pending))
        there = [key for key, damage in damages.items() if damage != "absent"]
        manifests = store.read_manifests(there)
        pending = {k for m in manifests for keys in m.inputs.values() for k in keys} - live
    return live


def staged(store: Store) -> dict[str, int]:
    """Bytes of unfinished work by key; that of a run that died is resumed by the next."""
    entries = sorted((store.root / "staging").iterdir())
    return {entry.name: folder_bytes(entry) for entry in entries}


def remove(store: Store, garbage: Garbage) -> bool:
    """Remove one; False if another run holds its key right now."""
    if garbage.kind == "temporary":
        (store.root / garbage.key).unlink(missing_ok=True)
        return True
    if garbage.kind == "copy":
        store.discard_copy(garbage.key)
        return True
    waited = False

    def refuse() -> None:
        nonlocal waited
        waited = True
        raise StoreError(f"{garbage.key} is in use")

    try:
        lock = store.lock(garbage.key.partition("/")[0])
        lock.on_wait = refuse
        with lock:
            if garbage.kind == "lock":
                lock.remove()
                return True
            if garbage.kind == "staging":
                shutil.rmtree(store.root / "staging" / garbage.key, ignore_errors=True)
            else:
                store.discard(garbage.key)
            lock.remove()
    except StoreError:
        if waited:
            return False
        raise
    return garbage.kind == "staging" or not os.path.exists(store.place(garbage.key))


def _writer_is_dead(path: Path) -> bool:
    """Whether the process is gone that `pipeline.documents.write_atomically` named the file by."""
    number = path.name.split(".")[-2]
    return number.isdigit() and not psutil.pid_exists(int(number))
