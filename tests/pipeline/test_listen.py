"""Journals that other processes write are heard as events."""

from __future__ import annotations

from typing import Any

from pipeline.journal import Journal
from pipeline.listen import Listener
from pipeline.store import Store
from pipeline.supervise import Event


class _Node:
    key = "probe-1"


def test_what_is_new_is_heard_once(store: Store) -> None:
    node: Any = _Node()
    heard: list[Event] = []
    journal = Journal(store.staging(node.key) / "journal.jsonl")
    journal.write("rejected", video_id="a", message="of an interrupted run")
    listener = Listener(store, heard.append)
    listener.add(node)
    listener.poll()
    assert heard == []
    for _ in range(2):  # the child was tried again
        journal.write("begin", total=2, done=1)
        journal.write("start", video_id="b")
    journal.write("rejected", video_id="b", message="cut")
    journal.write("progress", fraction=0.5, text="half")
    journal.close()
    for _ in range(2):
        listener.poll()
    assert [(event.kind, event.done, event.total, event.text) for event in heard] == [
        ("started", 1, 2, ""), ("item", 0, 0, "b: cut"), ("progress", 0, 0, "half"),
    ]  # fmt: skip


def test_a_journal_begun_anew_is_heard_from_its_start(store: Store) -> None:
    node: Any = _Node()
    heard: list[Event] = []
    path = store.staging(node.key) / "journal.jsonl"
    journal = Journal(path)
    journal.write("done", video_id="a", seconds=1)
    journal.close()
    listener = Listener(store, heard.append)
    listener.add(node)
    path.unlink()
    journal = Journal(path)
    journal.write("begin", total=1, done=0)
    journal.close()
    listener.poll()
    assert [event.kind for event in heard] == ["started"]
    listener.remove(node)
    listener.poll()
