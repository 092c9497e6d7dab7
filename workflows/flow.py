"""The plan as a Prefect flow: a task for every stage and part.

Our store decides what is a hit; Prefect's own result cache is off, because it cannot see a
changed helper, a changed file or a deleted output. A task says ``Cached`` or ``Completed``,
so that the UI shows the truth.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.execute import execute
from pipeline.plan import Entry, Plan
from pipeline.run import Result
from pipeline.store import Store
from pipeline.supervise import Event, Options
from storage_schemas.errors import TubeletError
from storage_schemas.manifest import PREVIEW_NAME, Manifest
from workflows.live import Live

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
    result = Result(plan)
    stop = threading.Event()
    slots = threading.Semaphore(options.workers)
    runner: Any = ThreadPoolTaskRunner(max_workers=_THREADS)

    @task(cache_policy=NO_CACHE, persist_result=False, retries=0)
    def node(waiting: _Opaque) -> Any:
        return _run_node(waiting, store, options, slots, result, on_event, stop)

    @flow(
        name="tubelet",
        flow_run_name=_escape(f"{recipe} {' '.join(settings)}".strip()),
        task_runner=runner,
        persist_result=False,
        validate_parameters=False,
    )
    def tubelet(recipe: str, settings: list[str], store: str) -> Any:
        try:
            _walk(node, plan, result, on_event)
        except BaseException:
            stop.set()  # Ctrl-C: the children must end before Prefect waits for its threads
            raise
        _publish_summary(recipe, result)
        try:
            result.check(options.max_failed_fraction)
        except TubeletError as error:
            return Failed(message=str(error))
        return Completed(message=_summary(result))

    tubelet(recipe=recipe, settings=settings, store=str(store.root), return_state=True)
    return result


def _walk(node: Any, plan: Plan, result: Result, on_event: Callable[[Event], None]) -> None:
    """Submit a task for each entry, inputs first, and wait for all of them."""
    futures: dict[str, PrefectFuture[Any]] = {}
    for entry in plan.entries:
        named = node.with_options(name=entry.node.step, task_run_name=_escape(entry.node.label))
        upstream = [
            futures[key]
            for keys in entry.node.input_keys().values()
            for key in keys
            if key in futures
        ]
        futures[entry.node.key] = named.submit(_Opaque(entry), wait_for=upstream)
    for entry in plan.entries:
        futures[entry.node.key].wait()
        if entry.node.key not in result.status:  # Prefect never started it
            result.status[entry.node.key] = "blocked"
            on_event(Event("ended", entry.node, status="blocked"))


class _Opaque:
    """Keeps Prefect from walking through the graph to look for futures."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __repr__(self) -> str:
        return self.entry.node.key


def _run_node(
    opaque: Any,
    store: Store,
    options: Options,
    slots: threading.Semaphore,
    result: Result,
    on_event: Callable[[Event], None],
    stop: threading.Event,
) -> Any:
    entry: Entry = opaque.entry
    key = entry.node.key
    live = Live(_slug(entry.node.label), entry.node.label)

    def tell(event: Event) -> None:
        on_event(event)
        live(event)

    try:
        if entry.action == "cached":
            status, manifest = "cached", store.read_manifest(key)
        else:
            with slots:
                status, manifest = execute(
                    entry.node,
                    store,
                    options,
                    force=entry.reason == "forced",
                    on_event=tell,
                    stop=stop,
                )
    except TubeletError as error:
        result.status[key], result.errors[key] = "failed", error
        return Failed(message=str(error))
    result.status[key] = status  # type: ignore[assignment]
    result.manifests[key] = manifest
    if status == "cached":
        return Completed(name="Cached", message=f"{key} is in the store")
    _publish(manifest, store)
    return Completed(message=f"{key}: {len(manifest.items)} videos, {manifest.seconds:.1f} s")


def _publish(manifest: Manifest, store: Store) -> None:
    """Table and contact sheet of one artifact; the Prefect key gives them a history."""
    name = _slug(manifest.step)
    create_table_artifact(
        key=f"{name}-table",
        table=[
            {"what": what, "value": value}
            for what, value in (
                ("artifact", manifest.key),
                ("part", manifest.part or ""),
                ("videos", len(manifest.items)),
                ("quarantined", len(manifest.quarantined)),
                ("rows", sum(file.rows for file in manifest.files.values())),
                ("bytes", manifest.bytes),
                ("seconds", manifest.seconds),
                *((f"parameter {k}", str(v)) for k, v in manifest.parameters.items()),
                *((f"quarantined {q.video_id}", q.message) for q in manifest.quarantined),
            )
        ],
        description=f"{manifest.step}: {store.folder(manifest.key)}",
    )
    preview = store.folder(manifest.key) / PREVIEW_NAME
    if preview.exists():
        data = base64.b64encode(preview.read_bytes()).decode()
        create_image_artifact(
            key=f"{name}-preview",
            image_url=f"data:image/jpeg;base64,{data}",
            description=f"What {manifest.step} made ({manifest.key})",
        )


def _publish_summary(recipe: str, result: Result) -> None:
    rows = [
        {
            "step": entry.node.label,
            "state": result.status.get(entry.node.key, "blocked"),
            "why": entry.reason,
            "key": entry.node.key,
        }
        for entry in result.plan.entries
    ]
    create_table_artifact(
        key=f"{re.sub('[^a-z0-9]+', '-', recipe.lower())}-run",
        table=rows,
        description=_summary(result),
    )


def _summary(result: Result) -> str:
    states = list(result.status.values())
    counts = {name: states.count(name) for name in ("cached", "computed", "failed", "blocked")}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _slug(text: str) -> str:
    """Prefect's artifact keys hold lowercase letters, digits and dashes only."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def _escape(text: str) -> str:
    """Prefect fills in braces in names."""
    return text.replace("{", "{{").replace("}", "}}")
