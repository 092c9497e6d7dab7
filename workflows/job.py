"""What one task does, wherever it runs: in a thread of the run, or in a worker elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.states import Completed, Failed

from pipeline.execute import execute
from pipeline.expand import Node
from pipeline.processes import Stop
from pipeline.run import Outcome
from pipeline.store import Store, open_store
from pipeline.supervise import Event, Options
from storage_schemas.errors import TubeletError
from workflows import publish
from workflows.live import Live

GPU_LIMIT = "tubelet-gpu"  # a global concurrency limit of Prefect's, followed where there is one
_GPU_LEASE_SECONDS = 60  # how long a run that was killed keeps its place; the least there is


class Job:
    """A node to compute; no data class, so that Prefect does not look for futures in it.

    Another process gets what it needs and no more: the node without its graph, and where the
    store lies. What is alive (`on_event`, `slots`) stays with the run.
    """

    def __init__(
        self,
        node: Node,
        store: Store,
        options: Options,
        *,
        force: bool,
        stop: Stop | None,
        on_event: Callable[[Event], None] = lambda event: None,
        slots: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.node, self.store, self.options = node, store, options
        self.force, self.stop = force, stop
        self.on_event, self.slots = on_event, slots or nullcontext()

    def __reduce__(self) -> tuple[Any, ...]:
        sent = (self.node.alone(), self.store.location, self.options, self.force, self.stop)
        return _received, sent

    def __repr__(self) -> str:
        return self.node.key


def _received(node: Node, location: str, options: Options, force: bool, stop: Stop | None) -> Job:
    return Job(node, open_store(location), options, force=force, stop=stop)


def compute(job: Job) -> State[Any]:
    """Compute one artifact, in a child process of this one; the state holds the `Outcome`."""
    node = job.node
    live = Live(publish.slug(node.label), node.label)

    def tell(event: Event) -> None:
        job.on_event(event)
        live(event)

    try:
        with _gpu(job), job.slots:
            status, manifest = execute(
                node, job.store, job.options, force=job.force, on_event=tell, stop=job.stop
            )
    except TubeletError as error:
        return Failed(message=str(error), data=Outcome("failed", error=error))
    done = Outcome(status, manifest)
    if status == "cached":
        return Completed(name="Cached", message=f"{node.key} is in the store", data=done)
    told = f"{node.key}: {len(manifest.items)} videos, {manifest.seconds:.1f} s"
    return Completed(message=told, data=done)


@contextmanager
def _gpu(job: Job) -> Iterator[None]:
    if job.options.device == "cpu" or not job.node.stage.uses_device():
        yield
        return
    with concurrency(GPU_LIMIT, occupy=1, strict=False, lease_duration=_GPU_LEASE_SECONDS):
        yield
