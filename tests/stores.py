"""Artifacts of a few bytes, and what lies in a store of either kind, behind its back."""

from __future__ import annotations

from pathlib import Path

from s3_server import bucket

from pipeline.store import Store, describe_files
from storage_schemas.manifest import Manifest, QuarantineRow

KEY = "probe-0123456789abcdef01234567"


def commit(store: Store, key: str = KEY, text: str = "hello") -> None:
    with store.lock(key):
        data = store.staging(key) / "data"
        data.mkdir()
        (data / "x.txt").write_text(text)
        manifest = Manifest(
            key=key, stage="probe", stage_version=1, step="probe", noun="boxes", noun_version=1,
            parameters={"a": 1}, inputs={}, part="0000", items=["v"],
            files=describe_files(data, {"x.txt": 3}),
            quarantined=[QuarantineRow("w", "probe", "BadVideo", "cause", 1, 2)],
        )  # fmt: skip
        store.commit(key, data, manifest)


def objects(store: Store, below: str = "") -> list[str]:
    """Relative names of all that is kept in a bucket, sorted."""
    prefix = _prefix(store)
    return sorted(o.key[len(prefix) :] for o in bucket().objects.filter(Prefix=prefix + below))


def tamper(store: Store, name: str, content: bytes | None) -> None:
    """Overwrite what ends with `name`, the only one that does, or remove it (None)."""
    if "://" not in store.location:
        (path,) = (p for p in Path(store.location).rglob(Path(name).name) if str(p).endswith(name))
        path.unlink() if content is None else path.write_bytes(content)
        return
    (key,) = (found for found in objects(store) if found.endswith(name))
    one = bucket().Object(_prefix(store) + key)
    one.delete() if content is None else one.put(Body=content)


def _prefix(store: Store) -> str:
    return store.location.partition("://")[2].partition("/")[2] + "/"
