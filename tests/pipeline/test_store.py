"""Commit, damage, digests, newer formats, garbage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stores import KEY, commit, tamper

from pipeline.collect import find_garbage, remove
from pipeline.store import Store, open_store
from storage_schemas.errors import StoreError
from storage_schemas.manifest import MANIFEST_NAME


def test_commit_and_read_back(any_store: Store) -> None:
    assert any_store.manifest(KEY) is None
    commit(any_store)
    manifest = any_store.manifest(KEY)
    assert manifest is not None
    assert manifest.files["x.txt"].rows == 3
    assert manifest.quarantined[0].frames_expected == 2
    assert not (any_store.root / "staging" / KEY).exists()
    assert list(any_store.keys("probe")) == list(any_store.keys()) == [KEY]
    assert list(any_store.keys("other")) == []
    assert (any_store.folder(KEY) / "x.txt").read_text() == "hello"
    path = any_store.file(KEY, "x.txt")
    assert path is not None
    assert path.read_text() == "hello"
    assert any_store.file(KEY, "preview.jpg") is None
    assert open_store(any_store.location).manifest(KEY) == manifest


def test_a_hit_needs_every_file_at_its_size(any_store: Store) -> None:
    commit(any_store)
    tamper(any_store, "x.txt", b"hell")
    assert any_store.damage(KEY) == "x.txt has 4 bytes, not 5"
    tamper(any_store, "x.txt", None)
    assert any_store.damage(KEY) == "x.txt is missing"
    assert any_store.manifest(KEY) is None
    commit(any_store)  # computed again
    assert any_store.manifest(KEY) is not None


def test_many_are_asked_for_at_once(any_store: Store) -> None:
    keys = [f"probe-{number:024x}" for number in range(20)] + ["other-0", "other-1"]
    for key in keys[:-1]:
        commit(any_store, key, text=key)
    assert set(any_store.keys()) == set(keys[:-1])
    damages = open_store(any_store.location).damages(keys)
    assert list(damages) == keys
    assert damages == dict.fromkeys(keys[:-1]) | {keys[-1]: "absent"}
    assert list(any_store.manifests(keys)) == keys[:-1]
    texts = [(folder / "x.txt").read_text() for folder in any_store.folders(keys[:-1])]
    assert texts == keys[:-1]
    with pytest.raises(StoreError, match="has no artifact 'other-1'"):
        any_store.read_manifests(keys)


def test_verify_compares_digests(any_store: Store) -> None:
    commit(any_store)
    assert any_store.verify(KEY) == []
    tamper(any_store, "x.txt", b"hallo")
    (problem,) = any_store.verify(KEY)
    assert problem.startswith("x.txt has sha256")


def test_half_an_artifact_is_no_artifact(any_store: Store) -> None:
    commit(any_store)
    tamper(any_store, MANIFEST_NAME, None)
    assert any_store.damage(KEY) == "absent"
    assert list(any_store.keys()) == []


def test_newer_store_and_manifest_are_refused(any_store: Store) -> None:
    commit(any_store)
    content = any_store.read_manifest(KEY).to_content()
    tamper(any_store, MANIFEST_NAME, json.dumps({**content, "format": 99}).encode())
    again = open_store(any_store.location)
    with pytest.raises(StoreError, match=r"manifest format 99.*upgrade tubelet"):
        again.read_manifest(KEY)
    tamper(any_store, MANIFEST_NAME, b"{")
    with pytest.raises(StoreError, match=r"manifest.json is damaged.*verify --discard"):
        open_store(any_store.location).damage(KEY)
    tamper(any_store, "store.json", b'{"format": 99}')
    with pytest.raises(StoreError, match=r"has format 99, this tubelet reads up to 1.*--store DIR"):
        open_store(any_store.location)


def test_unusable_root_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used.*--store DIR"):
        Store(tmp_path / "file" / "store")


def test_garbage_is_what_no_run_refers_to(any_store: Store) -> None:
    commit(any_store)
    other = "probe-ffffffffffffffffffffffff"
    commit(any_store, other)
    record = {"steps": {"probe": {"parts": {"0000": {"key": KEY}}}}}
    any_store.documents.write("runs/x.json", json.dumps(record))
    (garbage,) = find_garbage(any_store)
    assert (garbage.key, garbage.kind) == (other, "artifact")
    with any_store.lock(other):
        assert not remove(any_store, garbage)
    assert remove(any_store, garbage)
    assert list(any_store.keys()) == [KEY]
    assert find_garbage(any_store) == []
