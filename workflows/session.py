"""What a command works with: the store, the recipe's graph and the plan, made in order."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.overrides import apply_overrides, choose_source, source_on_disk
from pipeline.plan import Plan, make_plan
from pipeline.records import read_record, write_record
from pipeline.run import Result, run_plan
from pipeline.store import Store
from pipeline.supervise import Options
from storage_schemas.errors import ParameterError
from workflows import display, recipes, server
from workflows.options import console
from workflows.runners import Runner

DEFAULT_STORE = os.environ.get("TUBELET_STORE", ".tubelet")


@dataclass(frozen=True)
class Request:
    """What a user asked for; the same from the command line and from a deployment form.

    Parameters
    ----------
    recipe : str
    data : str, Path or None
        Where the videos lie, a folder or a URL: the ``path`` of the recipe's only source.
    settings : sequence of str
        ``stage.param=value`` overrides.
    only, from_step, force : str or None
        See `pipeline.plan.make_plan`.
    """

    recipe: str
    settings: Sequence[str] = ()
    data: str | Path | None = None
    only: str | None = None
    from_step: str | None = None
    force: str | None = None


def open_graph(
    request: Request,
    store: Store,
    *,
    on_hashed: Callable[[str, int], None] | None = None,
) -> Graph:
    """Load the recipe, apply the overrides, scan the sources."""
    targets = apply_overrides(recipes.load(request.recipe), settings_of(request))
    digests = Digests(store.root / "digests.sqlite", on_hashed=on_hashed)
    gc.disable()  # what a scan makes is kept: looking through it for garbage took a quarter of it
    try:
        return expand(targets, ledger=Ledger(store.documents), digests=digests)
    finally:
        gc.enable()
        digests.close()


def settings_of(request: Request) -> list[str]:
    """The request's settings, with the path of its data."""
    if request.data is None:
        return list(request.settings)
    targets, _ = choose_source(recipes.load(request.recipe), request.settings)
    source = source_on_disk(targets, f"--data {request.data}")
    for setting in request.settings:
        if setting.startswith(f"{source.name}.path="):
            raise ParameterError(
                f"--data {request.data} and --set {setting} both say where the videos lie; leave "
                "out one"
            )
    return [f"{source.name}.path={json.dumps(str(request.data))}", *request.settings]


def start(
    request: Request, store: Store, *, on_hashed: Callable[[str, int], None] | None = None
) -> Plan:
    """Plan, and remember the graph as the recipe's last run, which `gc` then keeps."""
    graph = open_graph(request, store, on_hashed=on_hashed)
    plan = open_plan(request, store, graph)
    only = graph.select(request.only) if request.only else None
    write_record(store, request.recipe, graph, settings=settings_of(request), only=only)
    return plan


def open_plan(request: Request, store: Store, graph: Graph) -> Plan:
    """Compare the graph with the store and with the recipe's last run."""
    return make_plan(
        graph,
        store,
        read_record(store, request.recipe),
        only=request.only,
        from_step=request.from_step,
        force=request.force,
    )


def run_planned(
    plan: Plan,
    store: Store,
    options: Options,
    *,
    recipe: str,
    settings: Sequence[str],
    prefect: bool,
    runner: Runner,
) -> Result:
    """Run a plan while the console tells how it goes, with Prefect or without.

    Ctrl-C and SIGTERM end the children, say how to go on, and exit with 128 and the signal's
    number, as a shell expects.
    """
    with _interruptible(), display.watching(console) as watcher:
        if not prefect:
            return run_plan(plan, store, options, on_event=watcher)
        console.print(f"Prefect: {server.describe()}", highlight=False)
        with server.embedded(store):
            from workflows.flow import run_flow

            return run_flow(
                plan,
                store,
                options,
                recipe=recipe,
                settings=list(settings),
                on_event=watcher,
                runner=runner,
            )


@contextmanager
def _interruptible() -> Iterator[None]:
    received = signal.SIGINT

    def terminate(number: int, frame: object) -> None:
        nonlocal received
        received = signal.SIGTERM
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted; what is finished is kept: run the same command to resume")
        raise typer.Exit(128 + received) from None
    finally:
        signal.signal(signal.SIGTERM, before)
