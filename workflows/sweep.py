"""The command ``sweep``: a recipe with several values of some parameters, as one run."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from pipeline import records
from pipeline.expand import Graph, Node
from pipeline.plan import make_plan
from pipeline.store import Store, open_store
from pipeline.supervise import Options
from pipeline.wording import counted
from storage_schemas.errors import ParameterError
from workflows import display, options
from workflows.diff import Html, tell_comparison
from workflows.options import Data, Recipe, Set, StoreDir, console
from workflows.runners import Runner
from workflows.session import DEFAULT_STORE, Request, open_graph, run_planned, settings_of
from workflows.upkeep import store_option


@dataclass(frozen=True)
class Variant:
    """One combination of values, with its graph."""

    name: str
    settings: Sequence[str]
    graph: Graph


def sweep(
    recipe: Recipe,
    axes: Annotated[
        list[str],
        typer.Argument(metavar="STAGE.PARAM=A,B,C", help="Values to try; several multiply."),
    ],
    data: Data = None,
    settings: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plans.")] = False,
    pinned: Annotated[
        bool, typer.Option("--pin/--no-pin", help="Have gc keep every variant until unpinned.")
    ] = True,
    html: Html = None,
    no_prefect: options.NoPrefect = False,
    store: StoreDir = DEFAULT_STORE,
    workers: options.Workers = Options.workers,
    threads: options.Threads = Options.threads,
    device: options.Device = Options.device,
    loader_workers: options.LoaderWorkers = None,
    item_timeout: options.ItemTimeout = Options.item_timeout_seconds,
    max_failed_fraction: options.MaxFailedFraction = Options.max_failed_fraction,
    runner: options.RunnerKind = "threads",
    runner_address: options.RunnerAddress = None,
) -> None:
    """Run a recipe with several values of some parameters; what is common runs once."""
    where = Runner(runner, runner_address)
    where.check_server(prefect=not no_prefect)
    opened = open_store(store)
    base = settings_of(Request(recipe, settings or [], data=data))
    variants = open_variants(recipe, axes, base, opened)
    past = records.read_record(opened, recipe)
    for variant in variants if dry_run else ():
        console.print(variant.name, style="bold", markup=False, highlight=False)
        display.print_plan(console, make_plan(variant.graph, opened, past))
    planned = make_plan(union([variant.graph for variant in variants]), opened, past)
    if not dry_run:
        display.print_plan(console, planned)
    console.print(_sharing(variants))
    if dry_run:
        return
    names = [variant.name for variant in variants]
    found = [
        records.graph_record(
            variant.graph, name=variant.name, recipe=recipe, settings=variant.settings
        )
        for variant in variants
    ]
    for record in found if pinned else ():
        records.pin(opened, record, record.name)
    result = run_planned(
        planned,
        opened,
        Options(
            workers=workers,
            threads=threads,
            device=device,
            loader_workers=loader_workers,
            item_timeout_seconds=item_timeout,
            max_failed_fraction=max_failed_fraction,
        ),
        recipe=recipe,
        settings=[*base, *axes],
        prefect=not no_prefect,
        runner=where,
    )
    if result.quarantined:
        display.print_quarantine(console, result.quarantined)
    result.check(max_failed_fraction)
    tell_comparison(found, opened, html, labels=[name.partition("@")[2] for name in names])
    if pinned:
        command = shlex.join(["tubelet", "unpin", *names, *store_option(opened)])
        console.print(
            f"gc keeps them until: {command}", markup=False, highlight=False, soft_wrap=True
        )


def open_variants(
    recipe: str, axes: Sequence[str], settings: Sequence[str], store: Store
) -> list[Variant]:
    """A graph for each combination of the axes' values.

    Raises
    ------
    ParameterError
        If an axis is not STAGE.PARAM=A,B,C, is given twice or gives a value twice, or as
        `pipeline.overrides.apply_overrides` does.
    """
    values: dict[str, list[str]] = {}
    for axis in axes:
        path, equals, text = axis.partition("=")
        if not equals or not text:
            raise ParameterError(f"sweep takes stage.param=A,B,C, not {axis!r}")
        if path in values:
            raise ParameterError(f"{path} is given twice; put all its values in one {path}=A,B,C")
        values[path] = split_values(text)
        if len(set(values[path])) < len(values[path]):
            raise ParameterError(f"{axis} gives a value twice")
    found = []
    for chosen in itertools.product(*values.values()):
        own = [f"{path}={value}" for path, value in zip(values, chosen, strict=True)]
        request = Request(recipe, [*settings, *own])
        name = f"{recipe}@{','.join(own)}"
        found.append(Variant(name, request.settings, open_graph(request, store)))
    return found


def split_values(text: str) -> list[str]:
    """Split at commas that are in no bracket or string: ``[1,2],[3]`` is two values."""
    values, depth, quoted = [""], 0, False
    for before, character in zip(f" {text}", text, strict=False):
        if character == '"' and before != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (character in "[{") - (character in "]}")
        if character == "," and not depth and not quoted:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def union(graphs: Sequence[Graph]) -> Graph:
    """All nodes of several graphs, each key once, inputs before readers."""
    nodes: dict[str, Node] = {}
    targets: dict[str, Node] = {}
    notes: dict[str, Sequence[str]] = {}
    for graph in graphs:
        for node in graph.nodes:
            nodes.setdefault(node.key, node)
        targets |= {node.key: nodes[node.key] for node in graph.targets}
        notes |= graph.notes
    return Graph(nodes=list(nodes.values()), targets=list(targets.values()), notes=notes)


def _sharing(variants: Sequence[Variant]) -> str:
    uses = Counter(node.key for variant in variants for node in variant.graph.nodes)
    asked = sum(uses.values())
    everywhere = sum(count == len(variants) for count in uses.values())
    return (
        f"{counted(len(variants), 'variant')} with {asked} nodes in all, "
        f"{len(uses)} different ones: {everywhere} shared by every variant, "
        f"{asked - len(uses)} need not be computed again"
    )
