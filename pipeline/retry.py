"""Rejected videos, tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.child import write_item
from pipeline.collect import Garbage, remove
from pipeline.execute import execute, items_of
from pipeline.expand import Node
from pipeline.records import pins
from pipeline.stage import VideoStage
from pipeline.store import Store
from pipeline.supervise import Event, Options
from storage_schemas.errors import StoreError
from storage_schemas.manifest import Manifest, QuarantineRow
from storage_schemas.noun import ItemNoun


@dataclass(frozen=True)
class Retried:
    """What came of a retry: videos that are in now, and artifacts that became stale."""

    recovered: Sequence[str]
    still: Sequence[QuarantineRow]
    discarded: Sequence[Manifest]


def retry(
    node: Node,
    store: Store,
    options: Options,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Retried:
    """Try the rejected videos of an artifact again, and keep what is done of the others.

    If one is in now, whatever rests on the artifact was made without it under the same key:
    it is removed before the artifact is replaced, so that no moment shows old beside new.

    Raises
    ------
    StoreError
        If a pinned run rests on the artifact, or another run is using what would be removed.
    """
    old = store.read_manifest(node.key)
    resting = dependents(store, node.key)
    for record in pins(store):
        if {node.key, *(manifest.key for manifest in resting)} & set(record.keys()):
            raise StoreError(
                f"the pinned run {record.name!r} rests on {node.key}, which a retry may change; "
                f"tubelet unpin {record.name!r} first"
            )
    discarded: list[Manifest] = []

    def replaced(new: Manifest) -> Manifest:
        if list(new.items) != list(old.items):
            for manifest in reversed(resting):
                if not remove(store, Garbage(manifest.key, "artifact", manifest.bytes)):
                    raise StoreError(f"{manifest.key} is in use by another run; retry after it")
                discarded.append(manifest)
        return replace(new, seconds=round(old.seconds + new.seconds, 3))

    _, new = execute(
        node,
        store,
        options,
        force=True,
        on_event=on_event,
        seed=lambda staging: _seed(node, store, old, staging),
        before_commit=replaced,
    )
    before = set(old.items)
    return Retried([v for v in new.items if v not in before], new.quarantined, discarded)


def dependents(store: Store, key: str) -> list[Manifest]:
    """Artifacts that rest on `key`, of any recipe, readers after what they read."""
    readers: dict[str, list[Manifest]] = {}
    for manifest in store.read_manifests(list(store.keys())):
        for upstream in {k for keys in manifest.inputs.values() for k in keys}:
            readers.setdefault(upstream, []).append(manifest)
    found: dict[str, Manifest] = {}

    def visit(upstream: str) -> None:
        for manifest in readers.get(upstream, ()):
            if manifest.key not in found:
                visit(manifest.key)
                found[manifest.key] = manifest

    visit(key)
    return list(reversed(found.values()))


def _seed(node: Node, store: Store, old: Manifest, staging: Path) -> None:
    """Lay the finished videos of an artifact where an interrupted run would have left them."""
    noun = node.stage.output
    if not isinstance(node.stage, VideoStage) or not issubclass(noun, ItemNoun):
        return
    items = staging / "items"
    items.mkdir()
    part = noun.open_part(store.folder(node.key))
    done = set(old.items)
    for index, video_id in enumerate(items_of(node, store)):
        if video_id in done:
            write_item(node.stage, items / f"{index:05d}", part[video_id])
