"""The plan as a Prefect flow: a task for every part that is computed, one for all that is cached.

Our store decides what is a hit; Prefect's own result cache is off, because it cannot see a
changed helper, a changed file or a deleted output. A task says ``Cached`` or ``Completed``,
so that the UI shows the truth. Where tasks are executed is chosen by a `Runner`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRunResult
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.listen import Listener
from pipeline.plan import Entry, Plan
from pipeline.run import Outcome, Queue, Result
from pipeline.store import Store
from pipeline.supervise import Event, Options
from storage_schemas.errors import StageFailed, TooManyFailures, TubeletError
from workflows import publish
from workflows.dead_runs import note_run
from workflows.job import Job, compute
from workflows.lost_tasks import close_task_runs, mark_crashed
from workflows.runners import Runner
from workflows.workers import Workers, flow_runner, opened

# Tasks that wait for a GPU hold a thread; work itself is bounded by a semaphore.
_THREADS = 64
_LISTEN_SECONDS = 1.0


def run_flow(
    plan: Plan,
    store: Store,
    options: Options,
    *,
    recipe: str,
    settings: list[str],
    on_event: Callable[[Event], None],
    runner: Runner = Runner(),  # noqa: B008 - frozen
) -> Result:
    """Run the plan as a flow; the result is that of `pipeline.run.run_plan`.

    The flow's state carries the message of the first error, as the command line does.
    """
    result = Result(plan)
    broken: list[Exception] = []

    def body() -> State[Any]:
        try:
            return run_in_flow(
                result, store, options, recipe=recipe, runner=runner, on_event=on_event
            )
        except TubeletError as error:
            broken.append(error)
            return Failed(message=str(error))
        except Exception as error:
            broken.append(error)  # Prefect would keep it in the state, and go on
            raise

    here = _Local(body)

    @flow(
        name="tubelet",
        flow_run_name=_escape(f"{recipe} {' '.join(settings)}".strip()),
        task_runner=task_runner(),
        persist_result=False,
        validate_parameters=False,
    )
    def tubelet(recipe: str, settings: list[str], store: str, runner: str) -> Any:
        return here.content()

    tubelet(
        recipe=recipe,
        settings=settings,
        store=store.location,
        runner=str(runner),
        return_state=True,
    )
    for error in broken:
        raise error
    return result


def task_runner() -> Any:
    """The runner of the flow itself: threads, for what is cached and for `Workers`."""
    return ThreadPoolTaskRunner(max_workers=_THREADS)


def run_in_flow(
    result: Result,
    store: Store,
    options: Options,
    *,
    recipe: str,
    runner: Runner = Runner(),  # noqa: B008 - frozen
    on_event: Callable[[Event], None] = lambda event: None,
) -> State[Any]:
    """Run the plan of `result`, inside of a flow that has begun, and fill the result.

    Returns
    -------
    State
        ``Failed`` with the first error. If too many videos were rejected, an event says so,
        too.
    """
    note_run(store)
    with opened(runner, options) as workers:
        walk = _Walk(result, store, options, on_event, workers)
        try:
            walk.run()
        except BaseException:
            walk.stop()  # Ctrl-C: the children must end before Prefect waits for its threads
            raise
    publish.publish_run(recipe, result)
    try:
        result.check(options.max_failed_fraction)
    except TubeletError as error:
        if isinstance(error, TooManyFailures):
            publish.tell_quarantine(recipe, result, error)
        # Of no name of its own: a deployment's page lists runs by the names that Prefect knows.
        return Failed(message=str(error))
    return Completed(message=publish.summary(result))


class _Walk:
    """Submits tasks as their inputs are there, takes what comes of them, publishes the steps."""

    def __init__(
        self,
        result: Result,
        store: Store,
        options: Options,
        on_event: Callable[[Event], None],
        workers: Workers,
    ) -> None:
        self.result, self.store, self.options = result, store, options
        self.on_event, self.workers = on_event, workers
        self._steps: dict[str, list[Entry]] = {}
        for entry in result.plan.entries:
            self._steps.setdefault(entry.node.step, []).append(entry)
        self._left = {step: len(entries) for step, entries in self._steps.items()}
        self._queue = Queue(result.plan.to_run)
        self._listener = Listener(store, on_event)
        self._task_runs: dict[str, UUID] = {}  # by key
        self._running: dict[UUID, tuple[Sequence[Entry], Any]] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._lost: dict[UUID, str] = {}

    def run(self) -> None:
        """Until nothing is left to start or to wait for."""
        for step, entries in self._steps.items():
            hits = [entry for entry in entries if entry.action == "cached"]
            if hits:
                label = hits[0].node.label if len(hits) == 1 else f"{step} · {len(hits)} parts"
                job = _Local(partial(self._note_cached, hits), label)
                self._submit(flow_runner(), _CACHED, job, label, hits)
        ready, listened = self._queue.start(), time.monotonic()
        while ready or self._running:
            for entry in ready:
                self._compute(entry)
            ready = []
            with suppress(Empty):
                ended = self._ended.get(timeout=_LISTEN_SECONDS)
                ready = self._finish(*self._running.pop(ended))
            if time.monotonic() - listened > _LISTEN_SECONDS:
                self._listener.poll()
                listened = time.monotonic()
        mark_crashed(self._lost)

    def stop(self) -> None:
        """End what is running, wherever it is."""
        futures = [f for entries, f in self._running.values() if entries[0].action == "run"]
        self.workers.stop(futures)
        if not self.workers.near:
            close_task_runs()

    def _compute(self, entry: Entry) -> None:
        job = Job(
            entry.node,
            self.store,
            self.options,
            force=entry.reason == "forced",
            stop=self.workers.stop_signal,
            on_event=self.on_event,
            slots=self.workers.slots,
        )
        if not self.workers.near:
            self._listener.add(entry.node)
        self._submit(self.workers, _COMPUTE, job, entry.node.label, [entry])

    def _submit(
        self, runner: Any, kind: Any, job: Any, label: str, entries: Sequence[Entry]
    ) -> None:
        named = kind.with_options(name=entries[0].node.step, task_run_name=_escape(label))
        keys = {k for e in entries for keys in e.node.input_keys().values() for k in keys}
        inputs = {TaskRunResult(id=self._task_runs[k]) for k in keys if k in self._task_runs}
        future = runner.submit(named, parameters={"job": job}, dependencies={"job": inputs})
        self._task_runs |= {entry.node.key: future.task_run_id for entry in entries}
        self._running[future.task_run_id] = entries, future
        future.add_done_callback(lambda ended: self._ended.put(ended.task_run_id))

    def _note_cached(self, entries: Sequence[Entry]) -> State[Any]:
        for entry in entries:
            key = entry.node.key
            self.result.manifests[key] = self.store.read_manifest(key)
            self.result.status[key] = "cached"
        told = f"{len(entries)} artifacts are in the store"
        return Completed(name="Cached", message=told, data=True)  # nothing would be: submit again

    def _finish(self, entries: Sequence[Entry], future: Any) -> list[Entry]:
        """Note what became of a task; returns what can start now."""
        found = self._result_of(future)
        if found is None:
            return list(entries)
        ready: list[Entry] = []
        for entry in entries:
            node = entry.node
            if entry.action == "run":
                self._listener.remove(node)
            elif node.key in self.result.status:
                self._end(entry)
                continue
            if not isinstance(found, Outcome):
                message = found.message if isinstance(found, TubeletError) else _told(found)
                error = StageFailed(message, stage=node.step, part=node.part)
                self._end(entry, Outcome("failed", error=error), tell=True)
            else:
                self._end(entry, found, tell=not self.workers.near)
            if self.result.status[node.key] != "failed":
                ready += self._queue.succeed(node.key)
            else:
                for blocked in self._queue.fail(node.key):
                    self._end(blocked, Outcome("blocked"), tell=True)
        return ready

    def _result_of(self, future: Any) -> Any:
        """What a task returned, or its exception; None if it may be submitted again."""
        try:
            return future.result(raise_on_failure=False)
        except Exception as error:  # its worker is gone, and nobody told Prefect
            self._lost[future.task_run_id] = message = (
                f"no worker finished it: {_told(error)}; run the same command again to resume"
            )
            return None if self.workers.renew(future) else StageFailed(message)

    def _end(self, entry: Entry, outcome: Outcome | None = None, *, tell: bool = False) -> None:
        key, step = entry.node.key, entry.node.step
        if outcome is not None:
            self.result.status[key] = outcome.status
            if outcome.manifest is not None:
                self.result.manifests[key] = outcome.manifest
            if outcome.error is not None:
                self.result.errors[key] = outcome.error
            if tell:
                text = str(outcome.error or "")
                self.on_event(Event("ended", entry.node, status=outcome.status, text=text))
        self._left[step] -= 1
        if not self._left[step]:
            keys = [one.node.key for one in self._steps[step]]
            publish.publish_step(step, keys, self.result, self.store)


def _told(error: BaseException) -> str:
    """The error with what caused it; a cluster's own errors say little."""
    own = f"{type(error).__name__}: {str(error).strip()}"
    return own if error.__cause__ is None else f"{own} ({_told(error.__cause__)})"


def _call(job: _Local) -> Any:
    return job.content()


# Not retried by Prefect: `execute` knows which failures pass by themselves.
_MADE = task(cache_policy=NO_CACHE, persist_result=False, retries=0)
_CACHED, _COMPUTE = _MADE(_call), _MADE(compute)


class _Local:
    """Stays in this process: Prefect sends the flow along to workers, which need none of it.

    Nor does Prefect walk through it to look for futures.
    """

    def __init__(self, content: Callable[[], Any], label: str = "") -> None:
        self.content, self.label = content, label

    def __reduce__(self) -> tuple[Any, ...]:
        return _Local, (None, self.label)

    def __repr__(self) -> str:
        return self.label


def _escape(text: str) -> str:
    """Prefect fills in braces in names."""
    return text.replace("{", "{{").replace("}", "}}")
