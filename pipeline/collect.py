"""Garbage collection: what no recipe's last run refers to any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.locks import lock_file
from pipeline.records import recorded_keys
from pipeline.store import Store
from storage_schemas.errors import StoreError


@dataclass(frozen=True)
class Garbage:
    """An artifact or a staging folder that may go."""

    key: str
    kind: str
    bytes: int


def find_garbage(store: Store, *, keep: Iterable[str] = ()) -> list[Garbage]:
    """Artifacts that neither a recorded run nor `keep` rests on, and staging without a run.

    Parameters
    ----------
    store : Store
    keep : iterable of str
        Further keys to keep, with all they rest on.
    """
    live: set[str] = set()
    pending = [*recorded_keys(store), *keep]
    while pending:
        key = pending.pop()
        if key in live:
            continue
        live.add(key)
        if store.damage(key) != "absent":
            pending += [k for keys in store.read_manifest(key).inputs.values() for k in keys]
    dead = [key for key in list(store.keys()) if key not in live]
    found = [Garbage(key, "artifact", store.read_manifest(key).bytes) for key in dead]
    for entry in sorted((store.root / "staging").iterdir()):
        if entry.name not in live:
            size = sum(f.stat().st_size for f in entry.rglob("*") if f.is_file())
            found.append(Garbage(entry.name, "staging", size))
    return found


def remove(store: Store, garbage: Garbage) -> bool:
    """Remove one; False if another run holds its key right now."""
    waited = False

    def refuse() -> None:
        nonlocal waited
        waited = True
        raise StoreError(f"{garbage.key} is in use")

    try:
        with lock_file(store.root / "locks" / f"{garbage.key}.lock", on_wait=refuse):
            if garbage.kind == "artifact":
                store.discard(garbage.key)
            else:
                shutil.rmtree(store.root / "staging" / garbage.key, ignore_errors=True)
    except StoreError:
        if waited:
            return False
        raise
    return not os.path.exists(store.folder(garbage.key))
