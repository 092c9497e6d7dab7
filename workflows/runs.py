"""What RUN and KEY|STAGE mean on the command line; the commands ``runs``, ``pin``, ``unpin``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

import typer

from pipeline import records
from pipeline.child import lineage
from pipeline.records import Record
from pipeline.store import Store, open_store
from pipeline.wording import counted, suggest
from storage_schemas.errors import ParameterError, StoreError
from storage_schemas.manifest import ArtifactView
from workflows import display
from workflows.options import StoreDir, console
from workflows.session import DEFAULT_STORE, Request, open_graph

_BETWEEN_SETTINGS = re.compile(r",(?=\w+(?:\.\w+)+=|source=)")

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="RECIPE (its last run), RECIPE~1 (the one before), RECIPE@stage.param=value, "
        "the name of a pin, or the KEY of an artifact.",
    ),
]


def find_run(store: Store, name: str) -> Record:
    """The run that is meant.

    ``RECIPE@SETTING,SETTING`` need not have been run under this name: it is the recipe with
    the settings of its last run, and these. A key stands for all that its artifact rests on.

    Raises
    ------
    ParameterError
        If nothing is called so; names what there is.
    """
    if found := records.find_record(store, name):
        return found
    recipe, at, text = name.partition("@")
    if at:
        last = records.find_record(store, recipe)
        settings = [*(last.settings if last else ()), *_BETWEEN_SETTINGS.split(text)]
        graph = open_graph(Request(recipe, settings), store)
        return records.graph_record(graph, name=name, recipe=recipe, settings=settings)
    if "-" in name and len(keys := _beginning(store, name)) == 1:
        return _of_artifact(store, keys[0])
    known = [record.name for record in records.records(store)]
    raise ParameterError(
        f"no run is called {name!r} in {store.location}; {suggest(name, known)} "
        "RECIPE@stage.param=value and the key of an artifact name a run as well"
    )


def find_keys(store: Store, what: str) -> list[str]:
    """Keys that KEY|STAGE means: those of a stage, oldest first, else the one that begins so.

    Raises
    ------
    StoreError
        If none or several begin so; names them, or the nearest stage.
    """
    if found := list(store.keys(what)):
        return found
    found = _beginning(store, what)
    if len(found) > 1:
        names = f"{found[0]} and {found[1]}"
        raise StoreError(
            f"{len(found)} keys of {store.location} start with {what!r}, such as {names}"
        )
    if not found:
        stages = sorted({key.rpartition("-")[0] for key in list(store.keys())})
        raise StoreError(f"{store.location} has no artifact {what!r}; {suggest(what, stages)}")
    return found


def _beginning(store: Store, prefix: str) -> list[str]:
    return [key for key in list(store.keys()) if key.startswith(prefix)]


def open_views(store: Store, record: Record) -> tuple[list[ArtifactView], list[str]]:
    """A run's artifacts, inputs before readers, and keys that the store lacks."""
    views, missing = [], []
    manifests = store.manifests(record.keys())
    for step, past in record.steps.items():
        for node in past.parts.values():
            if node.key not in manifests:
                missing.append(node.key)
            else:  # another recipe may have computed it under another name
                views.append(store.view(replace(manifests[node.key], step=step)))
    return views, missing


def _of_artifact(store: Store, key: str) -> Record:
    parts: dict[str, dict[str, records.PastNode]] = {}
    manifests = [view.manifest for view in lineage(store, [key])]
    for m in manifests:
        of_step = parts.setdefault(m.step, {})
        inputs = {role: list(keys) for role, keys in m.inputs.items()}
        of_step[m.part or f"*{len(of_step)}"] = records.PastNode(m.key, inputs, len(m.items))
    steps = {
        m.step: records.PastStep(m.stage, m.stage_version, m.parameters, parts[m.step])
        for m in manifests
    }
    return Record(key, "", (), manifests[-1].created, steps)


def list_runs(store: StoreDir = DEFAULT_STORE) -> None:
    """Runs that the store remembers, with what they were asked for.

    RECIPE is the last run of a recipe, RECIPE~1 the one before it, and so on to RECIPE~20. A run
    that is about the same artifacts as the last one takes its place, so the same command given
    twice is one run. What is pinned has a name of its own; ``sweep`` pins each of its variants
    as RECIPE@stage.param=value.
    """
    opened = open_store(store)
    pinned = {record.name for record in records.pins(opened)}
    rows = [
        (
            record.name + (" (pinned)" if record.name in pinned else ""), record.recipe,
            record.created, str(len(record.keys())), " ".join(record.settings),
        )
        for record in records.records(opened)
    ]  # fmt: skip
    display.print_table(console, ("run", "recipe", "began", "artifacts", "settings"), rows)


def pin(
    run: Run,
    name: Annotated[str | None, typer.Option("--as", help="Its name; default: RUN's.")] = None,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Have ``gc`` keep a run with all it rests on, whatever is run after it."""
    opened = open_store(store)
    record = find_run(opened, run)
    records.pin(opened, record, name or run)
    console.print(f"pinned {name or run}: {counted(len(record.keys()), 'artifact')}", markup=False)


def unpin(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="As `tubelet runs` lists them.")
    ],
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Let ``gc`` remove runs that were pinned."""
    opened = open_store(store)
    for name in names:
        records.unpin(opened, name)
        console.print(f"unpinned {name}", markup=False, highlight=False)
    console.print("`tubelet gc` shows what may go")
