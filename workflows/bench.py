"""The command ``bench train``: is a training bound by loading or by compute."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.child import open_inputs
from pipeline.expand import Graph, Node
from pipeline.plan import make_plan
from pipeline.run import run_plan
from pipeline.stage import Context
from pipeline.store import Store, open_store
from pipeline.supervise import Options
from pipeline.wording import counted
from storage_schemas.errors import ParameterError
from workflows import display, options
from workflows.options import Data, Recipe, Set, StoreDir, console
from workflows.session import DEFAULT_STORE, Request, open_graph

if TYPE_CHECKING:
    from stages.learning.train_spec import TrainSpec

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command("train")
def bench_train(
    recipe: Recipe = "demo",
    data: Data = None,
    settings: Set = None,
    store: StoreDir = DEFAULT_STORE,
    step: Annotated[str, typer.Option(help="Which step trains.")] = "pretrain",
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 8.0,
    workers: options.Workers = Options.workers,
    threads: options.Threads = Options.threads,
    device: options.Device = Options.device,
    loader_workers: options.LoaderWorkers = None,
    item_timeout: options.ItemTimeout = Options.item_timeout_seconds,
    max_failed_fraction: options.MaxFailedFraction = Options.max_failed_fraction,
) -> None:
    """Say whether a training is bound by loading or by compute, and what to do about it.

    Measures the loader alone, the step alone with a batch in memory, and both together.
    What the training reads is computed first, without a server, if the store lacks it.
    """
    opened = open_store(store)
    graph = open_graph(Request(recipe, settings or [], data=data), opened)
    node = _training(graph, step)
    how = Options(
        workers=workers,
        threads=threads,
        device=device,
        item_timeout_seconds=item_timeout,
        max_failed_fraction=max_failed_fraction,
    )
    _compute_inputs(graph, node, opened, how)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(
            work=Path(folder), threads=threads, device=device, loader_workers=loader_workers
        )
        spec = _spec_of(node, opened, context)
        _measure(spec, node, seconds=seconds)


def _training(graph: Graph, step: str) -> Node:
    from stages.pretrain.pretrain import Pretrain

    nodes = [node for name in graph.select(step) for node in graph.of_step(name)]
    trainings = [node for node in nodes if isinstance(node.stage, Pretrain)]
    if len(trainings) != 1:
        names = [node.step for node in graph.nodes if isinstance(node.stage, Pretrain)]
        raise ParameterError(
            f"--step {step} means {counted(len(trainings), 'training')}, it must mean one; this "
            f"recipe has {', '.join(names) or 'none'}"
        )
    return trainings[0]


def _compute_inputs(graph: Graph, node: Node, store: Store, how: Options) -> None:
    """Run what the node rests on, as far as the store lacks it."""
    needed: set[str] = set()

    def visit(reader: Node) -> None:
        for nodes in reader.inputs.values():
            for one in nodes:
                if one.key not in needed:
                    needed.add(one.key)
                    visit(one)

    visit(node)
    upstream = Graph(nodes=[n for n in graph.nodes if n.key in needed], targets=())
    plan = make_plan(upstream, store, {})
    if plan.to_run:
        display.print_plan(console, plan)
        with display.watching(console) as watcher:
            run_plan(plan, store, how, on_event=watcher).check(how.max_failed_fraction)


def _spec_of(node: Node, store: Store, context: Context) -> TrainSpec:
    inputs = open_inputs(node.stage, store, node.input_keys())
    stage: Any = node.stage
    roles = ("tubes", "proposals", "detections")
    spec: TrainSpec = stage.train_spec(
        shards=inputs["shards"],
        split=inputs.get("split"),
        labels=None,
        trajectories=inputs.get("trajectories"),
        boxes={role: inputs[role] for role in roles if role in inputs},
        ctx=context,
    )
    return spec


def _measure(spec: TrainSpec, node: Node, *, seconds: float) -> None:
    from stages.learning.launch import count_devices
    from stages.learning.throughput import Bench, alternatives, verdict

    devices = count_devices(spec.device)
    share = spec.optimisation["batch_size"] // devices
    spec = replace(spec, optimisation={**spec.optimisation, "batch_size": share})
    cores = max(1, (os.cpu_count() or 1) // devices)
    measured = Bench(spec, seconds=seconds)
    with console.status("measuring"):
        found = measured.measure()
        tried = {}
        for name, value in {} if found.bound_by_loading else alternatives(spec).items():
            setting = value * devices if name == "batch_size" else value
            rate = measured.step_rate(**{name: value})
            tried[f"{node.step}.optimisation.{name}={json.dumps(setting)}"] = rate
        better = None
        if found.bound_by_loading and found.workers < min(found.workers_needed, cores):
            workers = min(found.workers_needed, cores)
            better = Bench(replace(spec, loader_workers=workers), seconds=seconds).measure()
    rows = []

    def row(what: str, rate: float, waiting: float | None = None) -> None:
        share_waited = "" if waiting is None else f"{waiting:.0%}"
        rows.append((what, f"{rate:.1f}", f"{1e3 / rate:.2f}", share_waited))

    row(f"loader alone, {counted(found.workers, 'worker')}", found.loader)
    row("step alone, batch in memory", found.step)
    row(f"both together, {counted(found.workers, 'worker')}", found.both, found.waiting)
    for setting, rate in tried.items():
        row(f"step alone, {setting}", rate)
    if better is not None:
        row(f"both together, {counted(better.workers, 'worker')}", better.both, better.waiting)
    where = f"{devices} devices, figures of one" if devices > 1 else "one device"
    console.print(f"{node.step}: {counted(share, 'clip')} a step, {where}", highlight=False)
    display.print_table(console, ("what", "clips/s", "ms a clip", "waits for data"), rows)
    frames = _smaller_frames(spec, node)
    for line in verdict(found, tried, cores=cores, better=better, smaller_frames=frames):
        console.print(line, markup=False, highlight=False)


def _smaller_frames(spec: TrainSpec, node: Node) -> str | None:
    """The setting that stores frames at the clip's size, if they are much larger."""
    from stages.learning.data import Examples

    examples = Examples.of(spec)
    frames = examples.shards[examples.video_ids[0]]
    method: Any = examples.method
    wanted = round(method.size * 8 / 7)  # 128 for clips of 112, as is usual
    if min(frames.height, frames.width) < 1.5 * wanted:
        return None
    return f"{node.inputs['shards'][0].step}.short_side={wanted}"
