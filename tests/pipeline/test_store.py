"""Commit, damage, digests, newer formats, garbage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.collect import find_garbage, remove
from pipeline.store import Store, describe_files
from storage_schemas.errors import StoreError
from storage_schemas.manifest import MANIFEST_NAME, Manifest, QuarantineRow

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


def test_commit_and_read_back(store: Store) -> None:
    assert store.manifest(KEY) is None
    commit(store)
    manifest = store.manifest(KEY)
    assert manifest is not None
    assert manifest.files["x.txt"].rows == 3
    assert manifest.quarantined[0].frames_expected == 2
    assert not (store.root / "staging" / KEY).exists()
    assert list(store.keys("probe")) == [KEY]
    assert store.find("probe-0123") == KEY


def test_a_hit_needs_every_file_at_its_size(store: Store) -> None:
    commit(store)
    path = store.folder(KEY) / "x.txt"
    path.write_text("hell")
    assert store.damage(KEY) == "x.txt has 4 bytes, not 5"
    path.unlink()
    assert store.damage(KEY) == "x.txt is missing"
    assert store.manifest(KEY) is None


def test_verify_compares_digests(store: Store) -> None:
    commit(store)
    assert store.verify(KEY) == []
    (store.folder(KEY) / "x.txt").write_text("hallo")
    (problem,) = store.verify(KEY)
    assert problem.startswith("x.txt has sha256")


def test_half_an_artifact_is_no_artifact(store: Store) -> None:
    commit(store)
    (store.folder(KEY) / MANIFEST_NAME).unlink()
    assert store.damage(KEY) == "absent"
    assert list(store.keys()) == []


def test_newer_store_and_manifest_are_refused(store: Store) -> None:
    commit(store)
    path = store.folder(KEY) / MANIFEST_NAME
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(StoreError, match=r"manifest format 99.*upgrade tubelet"):
        store.read_manifest(KEY)
    (store.root / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match=r"has format 99, this tubelet reads up to 1.*--store DIR"):
        Store(store.root)


def test_unusable_root_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used.*--store DIR"):
        Store(tmp_path / "file" / "store")


def test_garbage_is_what_no_run_refers_to(store: Store) -> None:
    commit(store)
    other = "probe-ffffffffffffffffffffffff"
    commit(store, other)
    record = {"steps": {"probe": {"parts": {"0000": {"key": KEY}}}}}
    (store.root / "runs" / "x.json").write_text(json.dumps(record))
    (garbage,) = find_garbage(store)
    assert (garbage.key, garbage.kind) == (other, "artifact")
    with store.lock(other):
        assert not remove(store, garbage)
    assert remove(store, garbage)
    assert list(store.keys()) == [KEY]
