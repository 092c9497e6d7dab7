"""Run a plan without any engine: threads that each watch one child process.

The Prefect flow walks the same plan with the same `execute`; this one serves tests,
notebooks and ``tubelet run --no-prefect``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

from pipeline.execute import execute
from pipeline.expand import Node
from pipeline.plan import Entry, Plan
from pipeline.source import Source
from pipeline.store import Store
from pipeline.supervise import Event, Options, Status
from pipeline.wording import counted
from storage_schemas.errors import TooManyFailures, TubeletError
from storage_schemas.manifest import Manifest, QuarantineRow


@dataclass(frozen=True)
class Outcome:
    """What became of one node: its manifest, or its error."""

    status: Status
    manifest: Manifest | None = None
    error: TubeletError | None = None


@dataclass
class Result:
    """What became of a plan: status, manifest and error by key."""

    plan: Plan
    status: dict[str, Status] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    errors: dict[str, TubeletError] = field(default_factory=dict)

    @property
    def quarantined(self) -> list[QuarantineRow]:
        """Rejected videos of all stages of this plan, cached ones included."""
        return [row for manifest in self.manifests.values() for row in manifest.quarantined]

    def computed(self) -> list[Node]:
        """Nodes whose stage really ran."""
        return [e.node for e in self.plan.entries if self.status.get(e.node.key) == "computed"]

    def check(self, max_failed_fraction: float) -> None:
        """Raise the first error of a stage, or `TooManyFailures` beyond the fraction."""
        for error in self.errors.values():
            raise error
        check_quarantine(self.plan, self.quarantined, max_failed_fraction)


def run_plan(
    plan: Plan,
    store: Store,
    options: Options,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Result:
    """Compute what the plan says, inputs first, `options.workers` nodes at a time.

    A failed node blocks what rests on it; everything else completes.
    """
    result = Result(plan)
    for entry in plan.entries:
        if entry.action == "cached":
            result.status[entry.node.key] = "cached"
            result.manifests[entry.node.key] = store.read_manifest(entry.node.key)
    queue = Queue(plan.to_run)
    running: dict[Future[tuple[Status, Manifest]], str] = {}
    ended: SimpleQueue[Future[tuple[Status, Manifest]]] = SimpleQueue()
    stop = threading.Event()
    with ThreadPoolExecutor(options.workers, thread_name_prefix="tubelet") as pool:
        try:
            ready = queue.start()
            while ready or running:
                for entry in ready:
                    forced = entry.reason == "forced"
                    future = pool.submit(
                        execute,
                        entry.node,
                        store,
                        options,
                        force=forced,
                        on_event=on_event,
                        stop=stop,
                    )
                    running[future] = entry.node.key
                    future.add_done_callback(ended.put)
                future = ended.get()
                key = running.pop(future)
                try:
                    result.status[key], result.manifests[key] = future.result()
                    ready = queue.succeed(key)
                except TubeletError as error:
                    result.status[key], result.errors[key] = "failed", error
                    ready = []
                    for blocked in queue.fail(key):
                        result.status[blocked.node.key] = "blocked"
                        on_event(Event("ended", blocked.node, status="blocked"))
        except BaseException:
            stop.set()  # Ctrl-C: the threads end their children before the pool is left
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return result


class Queue:
    """Entries that wait for others, released as these end; each step costs what it releases."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._waiting = {entry.node.key: entry for entry in entries}
        self._unmet: dict[str, set[str]] = {}
        self._readers: dict[str, list[str]] = {}
        for key, entry in self._waiting.items():
            upstream = {k for keys in entry.node.input_keys().values() for k in keys}
            self._unmet[key] = upstream & self._waiting.keys()
            for other in self._unmet[key]:
                self._readers.setdefault(other, []).append(key)

    def start(self) -> list[Entry]:
        """What waits for nothing."""
        return [self._waiting.pop(key) for key, unmet in self._unmet.items() if not unmet]

    def succeed(self, key: str) -> list[Entry]:
        """What waited for `key`, and now for nothing more."""
        ready = []
        for reader in self._readers.get(key, ()):
            self._unmet[reader].remove(key)
            if not self._unmet[reader] and reader in self._waiting:
                ready.append(self._waiting.pop(reader))
        return ready

    def fail(self, key: str) -> Iterator[Entry]:
        """All that rests on `key` and has not been told so before, inputs before readers."""
        for reader in self._readers.get(key, ()):
            if reader in self._waiting:
                yield self._waiting.pop(reader)
                yield from self.fail(reader)


def check_quarantine(
    plan: Plan, quarantined: Sequence[QuarantineRow], max_failed_fraction: float
) -> None:
    """Raise `TooManyFailures` if too large a share of the sources' videos was rejected.

    Videos whose rejection is accepted (`pipeline.allowed`) do not count.
    """
    videos = {
        video_id
        for node in plan.graph.nodes
        if isinstance(node.stage, Source)
        for video_id in node.video_ids
    }
    counting = [row for row in quarantined if row.video_id not in plan.allowed]
    failed = {row.video_id for row in counting}
    if videos and len(failed) / len(videos) > max_failed_fraction:
        lines = "".join(f"\n  {row.video_id}: {row.stage}: {row.message}" for row in counting)
        raise TooManyFailures(
            f"{len(failed)} of {counted(len(videos), 'video')} are quarantined, more than "
            f"max_failed_fraction {max_failed_fraction:g}; look at them, accept them with "
            f"`tubelet quarantine allow`, or raise --max-failed-fraction:{lines}"
        )
