"""Rejected videos of a store, and which of them are accepted.

``allowed.json`` names videos whose rejection is accepted, with a reason: they are left out
as before, and no longer count against the share of videos that a run may lose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.locks import lock_file
from pipeline.store import Store
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError
from storage_schemas.manifest import QuarantineRow

_NAME = "allowed.json"


@dataclass(frozen=True)
class Rejected:
    """A quarantine row, and the artifact that it is of."""

    key: str
    part: str | None
    row: QuarantineRow


def find_rejected(store: Store, keys: Iterable[str]) -> list[Rejected]:
    """Quarantine rows of those artifacts that the store has."""
    return [
        Rejected(key, manifest.part, row)
        for key, manifest in store.manifests(list(keys)).items()
        for row in manifest.quarantined
    ]


def read_allowed(store: Store) -> dict[str, str]:
    """Video id -> why its rejection is accepted."""
    return json.loads(store.documents.read(_NAME) or "{}")


def allow(store: Store, video_ids: Sequence[str], *, reason: str | None) -> None:
    """Accept that videos are rejected; with a `reason` of None, no longer.

    Raises
    ------
    ParameterError
        If a video is not in quarantine, or not allowed; names the nearest.
    """
    with lock_file(store.root / "locks" / "allowed.lock"):
        allowed = read_allowed(store)
        if reason is None:
            known = set(allowed)
        else:
            known = {found.row.video_id for found in find_rejected(store, list(store.keys()))}
        for video_id in video_ids:
            if video_id not in known:
                hint = suggest(video_id, sorted(known), listed=5)
                raise ParameterError(f"{video_id!r} is not in the quarantine; {hint}")
            if reason is None:
                del allowed[video_id]
            else:
                allowed[video_id] = reason
        store.documents.write(_NAME, json.dumps(allowed, indent=1, sort_keys=True))
