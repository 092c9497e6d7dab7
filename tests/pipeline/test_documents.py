"""Small texts, in a folder and in a bucket."""

from __future__ import annotations

import pytest
from stores import tamper

from pipeline.store import Store, open_store
from storage_schemas.errors import StoreError


def test_texts_go_by_name(any_store: Store) -> None:
    documents = any_store.documents
    assert documents.read("runs/a.json") is None
    assert documents.names("runs") == []
    odd = "runs/a@b.c=%2Fd,e+~é.json"
    for name in ("runs/b.json", "runs/b/000001.json", odd):
        documents.write(name, f"first {name}")
        documents.write(name, f"é {name}")
    assert documents.names("runs") == sorted(["runs/b.json", "runs/b/000001.json", odd])
    assert documents.names("runs/b") == ["runs/b/000001.json"]
    assert documents.read(odd) == f"é {odd}"
    assert documents.read_all([odd, "runs/c.json", "runs/b.json"]) == {
        odd: f"é {odd}", "runs/b.json": "é runs/b.json",
    }  # fmt: skip
    assert documents.remove(odd)
    assert not documents.remove(odd)
    assert documents.read(odd) is None


def test_lines_are_appended_after_those_that_were_read(any_store: Store) -> None:
    documents = any_store.documents
    assert documents.lines("log") == []
    assert documents.append("log", ["a", "b"], after=0)
    assert not documents.append("log", ["x"], after=0)
    assert documents.append("log", ["c"], after=2)
    assert not documents.append("log", ["x"], after=2)
    assert documents.lines("log") == ["a", "b", "c"]
    assert open_store(any_store.location).documents.lines("log") == ["a", "b", "c"]


def test_a_lost_page_is_no_shorter_log(url: str) -> None:
    documents = open_store(url).documents
    for after in range(3):
        assert documents.append("log", [str(after)], after=after)
    tamper(open_store(url), "log/00000001.jsonl", None)
    with pytest.raises(StoreError, match=r"log/00000001.jsonl is missing, while log/00000002"):
        documents.lines("log")
