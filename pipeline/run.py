"""Run a plan without any engine: threads that each watch one child process.

The Prefect flow walks the same plan with the same `execute`; this one serves tests,
notebooks and ``tubelet run --no-prefect``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from pipeline.execute import execute
from pipeline.expand import Node
from pipeline.plan import Entry, Plan
from pipeline.source import Source
from pipeline.store import Store
from pipeline.supervise import Event, Options, Status
from storage_schemas.errors import TooManyFailures, TubeletError
from storage_schemas.manifest import Manifest, QuarantineRow


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
    waiting: dict[str, Entry] = {}
    for entry in plan.entries:
        if entry.action == "run":
            waiting[entry.node.key] = entry
        else:
            result.status[entry.node.key] = "cached"
            result.manifests[entry.node.key] = store.read_manifest(entry.node.key)
    running: dict[Future[tuple[Status, Manifest]], Entry] = {}
    stop = threading.Event()
    with ThreadPoolExecutor(options.workers, thread_name_prefix="tubelet") as pool:
        try:
            while waiting or running:
                _submit_ready(waiting, running, result, pool, store, options, on_event, stop)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key = running.pop(future).node.key
                    try:
                        result.status[key], result.manifests[key] = future.result()
                    except TubeletError as error:
                        result.status[key], result.errors[key] = "failed", error
        except BaseException:
            stop.set()  # Ctrl-C: the threads end their children before the pool is left
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return result


def _submit_ready(
    waiting: dict[str, Entry],
    running: dict[Future[tuple[Status, Manifest]], Entry],
    result: Result,
    pool: ThreadPoolExecutor,
    store: Store,
    options: Options,
    on_event: Callable[[Event], None],
    stop: threading.Event,
) -> None:
    for key, entry in list(waiting.items()):
        upstream = [k for keys in entry.node.input_keys().values() for k in keys]
        if any(result.status.get(k) in ("failed", "blocked") for k in upstream):
            result.status[key] = "blocked"
            del waiting[key]
            on_event(Event("ended", entry.node, status="blocked"))
        elif all(k not in waiting and k not in _keys(running) for k in upstream):
            forced = entry.reason == "forced"
            future = pool.submit(
                execute, entry.node, store, options, force=forced, on_event=on_event, stop=stop
            )
            running[future] = entry
            del waiting[key]


def _keys(running: Mapping[Future[tuple[Status, Manifest]], Entry]) -> set[str]:
    return {entry.node.key for entry in running.values()}


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
            f"{len(failed)} of {len(videos)} videos are quarantined, more than "
            f"max_failed_fraction {max_failed_fraction:g}; look at them, accept them with "
            f"`tubelet quarantine allow`, or raise --max-failed-fraction:{lines}"
        )
