"""Hear of nodes that other processes compute, from the journals in a shared store."""

from __future__ import annotations

import os
from collections.abc import Callable

from pipeline.expand import Node
from pipeline.journal import JournalReader
from pipeline.store import Store
from pipeline.supervise import Event, tell


class Listener:
    """Makes events of what children write into their journals, as far as it hears of it.

    A journal is gone when its artifact is there, so the last videos may stay unheard; where
    staging folders are not shared (a store in object storage) it hears nothing.
    """

    def __init__(self, store: Store, on_event: Callable[[Event], None]) -> None:
        self._staging = store.root / "staging"
        self._on_event = on_event
        self._heard: dict[str, tuple[Node, JournalReader]] = {}
        self._begun: set[str] = set()

    def add(self, node: Node) -> None:
        """Listen from now on; what an interrupted run has written is passed over."""
        reader = JournalReader(self._staging / node.key / "journal.jsonl")
        reader.read()
        self._heard[node.key] = node, reader

    def remove(self, node: Node) -> None:
        """It has ended."""
        self._heard.pop(node.key, None)
        self._begun.discard(node.key)

    def poll(self) -> None:
        """Pass on what is new; reads one folder, and the journals of what is being computed."""
        for key in self._heard.keys() & set(os.listdir(self._staging)):
            node, reader = self._heard[key]
            for event in reader.read():
                if event["event"] != "begin":
                    tell(node, event, self._on_event)
                elif key not in self._begun:
                    self._begun.add(key)
                    self._on_event(Event("started", node, total=event["total"], done=event["done"]))
