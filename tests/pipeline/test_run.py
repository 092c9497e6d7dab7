"""What runs when; running itself is in test_execute.py."""

from __future__ import annotations

from probe_stages import Grow

from pipeline.expand import Node
from pipeline.plan import Entry
from pipeline.run import Queue


def entry(key: str, *upstream: Node) -> Entry:
    node = Node(key, None, Grow(), {"boxes": upstream}, key, ())
    return Entry(node, "run")


def diamond() -> list[Entry]:
    cached = entry("cached").node  # not in the queue: nobody waits for it
    top = entry("top", cached)
    left, right = entry("left", top.node), entry("right", top.node)
    return [top, left, right, entry("bottom", left.node, right.node)]


def test_released_by_the_last_input() -> None:
    top, left, right, bottom = diamond()
    queue = Queue([top, left, right, bottom])
    assert queue.start() == [top]
    assert queue.succeed("top") == [left, right]
    assert queue.succeed("left") == []
    assert queue.succeed("right") == [bottom]
    assert queue.succeed("bottom") == []


def test_a_failure_blocks_all_that_rests_on_it_once() -> None:
    top, left, right, bottom = diamond()
    queue = Queue([top, left, right, bottom])
    queue.start()
    queue.succeed("top")
    assert list(queue.fail("left")) == [bottom]
    assert queue.succeed("right") == []  # what waits for both stays blocked

    queue = Queue([top, left, right, bottom])
    queue.start()
    assert [e.node.key for e in queue.fail("top")] == ["left", "bottom", "right"]
