"""The plan as a Prefect flow: a task for every part that is computed, one for all that is cached.

Our store decides what is a hit; Prefect's own result cache is off, because it cannot see a
changed helper, a changed file or a deleted output. A task says ``Cached`` or ``Completed``,
so that the UI shows the truth.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.execute import execute
from pipeline.plan import Entry, Plan
from pipeline.run import Result
from pipeline.store import Store
from pipeline.supervise import Event, Options, Status
from storage_schemas.errors import StageFailed, TooManyFailures, TubeletError
from workflows import publish
from workflows.dead_runs import note_run
from workflows.live import Live

GPU_LIMIT = "tubelet-gpu"  # a global concurrency limit of Prefect's, followed where there is one
_GPU_LEASE_SECONDS = 60  # how long a run that was killed keeps its place; the least there is
QUARANTINE_STATE = "QuarantineExceeded"  # what an automation can wait for

# Tasks that wait for their inputs hold a thread; work itself is bounded by the semaphore.
_THREADS = 64


def run_flow(
    plan: Plan,
    store: Store,
    options: Options,
    *,
    recipe: str,
    settings: list[str],
    on_event: Callable[[Event], None],
) -> Result:
    """Run the plan as a flow; the result is that of `pipeline.run.run_plan`.

    The flow's state carries the message of the first error, as the command line does.
    """
    result, opened = Result(plan), store

    @flow(
        name="tubelet",
        flow_run_name=_escape(f"{recipe} {' '.join(settings)}".strip()),
        task_runner=task_runner(),
        persist_result=False,
        validate_parameters=False,
    )
    def tubelet(recipe: str, settings: list[str], store: str) -> Any:
        return run_in_flow(result, opened, options, recipe=recipe, on_event=on_event)

    tubelet(recipe=recipe, settings=settings, store=str(store.root), return_state=True)
    return result


def task_runner() -> Any:
    """Threads, each of which watches a child process."""
    return ThreadPoolTaskRunner(max_workers=_THREADS)


def run_in_flow(
    result: Result,
    store: Store,
    options: Options,
    *,
    recipe: str,
    on_event: Callable[[Event], None] = lambda event: None,
) -> State[Any]:
    """Run the plan of `result`, inside of a flow that has begun, and fill the result.

    Returns
    -------
    State
        ``Failed`` with the first error; named `QUARANTINE_STATE` if too many videos
        were rejected.
    """
    note_run(store)
    stop = threading.Event()
    work = _Work(result, store, options, on_event, stop)
    try:
        _walk(work)
    except BaseException:
        stop.set()  # Ctrl-C: the children must end before Prefect waits for its threads
        raise
    publish.publish_run(recipe, result)
    try:
        result.check(options.max_failed_fraction)
    except TooManyFailures as error:
        publish.tell_quarantine(recipe, result, error)
        return Failed(name=QUARANTINE_STATE, message=str(error))
    except TubeletError as error:
        return Failed(message=str(error))
    return Completed(message=publish.summary(result))


class _Work:
    """What the tasks of a run share."""

    def __init__(
        self,
        result: Result,
        store: Store,
        options: Options,
        on_event: Callable[[Event], None],
        stop: threading.Event,
    ) -> None:
        self.result, self.store, self.options = result, store, options
        self.on_event, self.stop = on_event, stop
        self.slots = threading.Semaphore(options.workers)

    def cached(self, entries: Sequence[Entry]) -> State[Any]:
        """Note what is in the store."""
        for entry in entries:
            key = entry.node.key
            self.result.manifests[key] = self.store.read_manifest(key)
            self.result.status[key] = "cached"
        return Completed(name="Cached", message=f"{len(entries)} artifacts are in the store")

    def compute(self, entry: Entry) -> State[Any]:
        """Compute one artifact, in a child process."""
        key = entry.node.key
        live = Live(publish.slug(entry.node.label), entry.node.label)

        def tell(event: Event) -> None:
            self.on_event(event)
            live(event)

        try:
            with self._gpu(entry), self.slots:
                status, manifest = execute(
                    entry.node,
                    self.store,
                    self.options,
                    force=entry.reason == "forced",
                    on_event=tell,
                    stop=self.stop,
                )
        except TubeletError as error:
            self.result.status[key], self.result.errors[key] = "failed", error
            return Failed(message=str(error))
        self.result.status[key], self.result.manifests[key] = status, manifest
        if status == "cached":
            return Completed(name="Cached", message=f"{key} is in the store")
        return Completed(message=f"{key}: {len(manifest.items)} videos, {manifest.seconds:.1f} s")

    def lost(self, entry: Entry, state: State[Any]) -> None:
        """Note a task that did not say what became of it: it broke, or was never started."""
        key = entry.node.key
        status: Status = "blocked"
        if state.is_failed() or state.is_crashed():
            status = "failed"
            self.result.errors[key] = StageFailed(
                state.message or str(state.name), stage=entry.node.step, part=entry.node.part
            )
        self.result.status[key] = status
        self.on_event(Event("ended", entry.node, status=status))

    @contextmanager
    def _gpu(self, entry: Entry) -> Iterator[None]:
        if self.options.device == "cpu" or not entry.node.stage.uses_device():
            yield
            return
        with concurrency(GPU_LIMIT, occupy=1, strict=False, lease_duration=_GPU_LEASE_SECONDS):
            yield


def _walk(work: _Work) -> None:
    """Submit the tasks, inputs first, wait for all of them, publish each step when it ends."""
    futures: dict[str, PrefectFuture[Any]] = {}
    made = task(cache_policy=NO_CACHE, persist_result=False, retries=0)
    # The graph goes round Prefect, which would walk through it to look for futures.
    cached = made(lambda opaque: work.cached(opaque.content))
    compute = made(lambda opaque: work.compute(opaque.content))
    steps = [
        (step, list(entries))
        for step, entries in groupby(work.result.plan.entries, key=lambda entry: entry.node.step)
    ]
    for step, entries in steps:
        hits = [entry for entry in entries if entry.action == "cached"]
        if hits:
            label = hits[0].node.label if len(hits) == 1 else f"{step} · {len(hits)} parts"
            future = _submit(cached, _Opaque(hits, label), step, label, hits, futures)
            futures |= {entry.node.key: future for entry in hits}
        for entry in entries:
            if entry.action == "run":
                opaque = _Opaque(entry, entry.node.key)
                label = entry.node.label
                futures[entry.node.key] = _submit(compute, opaque, step, label, [entry], futures)
    for step, entries in steps:
        for entry in entries:
            future = futures[entry.node.key]
            future.wait()
            if entry.node.key not in work.result.status:
                work.lost(entry, future.state)
        publish.publish_step(step, [entry.node.key for entry in entries], work.result, work.store)


def _submit(
    function: Any,
    opaque: _Opaque,
    step: str,
    label: str,
    entries: Sequence[Entry],
    futures: dict[str, PrefectFuture[Any]],
) -> PrefectFuture[Any]:
    keys = [k for e in entries for keys in e.node.input_keys().values() for k in keys]
    upstream = {id(futures[key]): futures[key] for key in keys if key in futures}
    named = function.with_options(name=step, task_run_name=_escape(label))
    future: PrefectFuture[Any] = named.submit(opaque, wait_for=list(upstream.values()))
    return future


class _Opaque:
    """Keeps Prefect from walking through the graph."""

    def __init__(self, content: Any, label: str) -> None:
        self.content, self.label = content, label

    def __repr__(self) -> str:
        return self.label


def _escape(text: str) -> str:
    """Prefect fills in braces in names."""
    return text.replace("{", "{{").replace("}", "}}")
