"""The command ``diff``: two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.documents import write_atomically
from pipeline.records import Record
from pipeline.store import Store, open_store
from pipeline.wording import counted
from stages.report.compare import Comparison, compare, render_comparison
from storage_schemas.errors import ParameterError
from workflows import display
from workflows.options import StoreDir, console
from workflows.runs import Run, find_run, open_views
from workflows.session import DEFAULT_STORE

Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write it with the pictures side by side."),
]


def diff(
    run_a: Run,
    run_b: Run,
    html: Html = None,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Parameters, versions, counts and metrics in which two runs differ."""
    opened = open_store(store)
    tell_comparison([find_run(opened, name) for name in (run_a, run_b)], opened, html)


def tell_comparison(
    runs: Sequence[Record],
    store: Store,
    html: Path | None,
    *,
    labels: Sequence[str] | None = None,
) -> None:
    """Print the runs side by side, and write the page if one is asked for.

    `labels` stand over the columns in the place of the runs' names.

    Raises
    ------
    ParameterError
        If two runs have one name, or there is nothing of a run in the store.
    """
    opened = {}
    for label, record in zip(labels or [record.name for record in runs], runs, strict=True):
        views, missing = open_views(store, record)
        if not views:
            raise ParameterError(
                f"the store has nothing of {record.name!r}: `tubelet run {record.recipe}` with "
                f"the settings {' '.join(record.settings) or 'of the recipe'} computes it"
            )
        if missing:
            console.print(
                f"{record.name}: the store lacks {len(missing)} of "
                f"{counted(len(record.keys()), 'artifact')}, the first is {missing[0]}",
                style="yellow",
                markup=False,
            )
        opened[label] = views
    if len(opened) != len(runs):
        raise ParameterError(f"{runs[0].name!r} is given twice; compare it with another run")
    comparison = compare(opened, pictures=html is not None)
    print_comparison(console, comparison)
    if html is not None:
        html.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(html.absolute(), render_comparison(comparison))
        console.print(f"page: {html}", soft_wrap=True, highlight=False, markup=False)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Tables of what differs, one column a run."""
    said = False
    for title in ("parameters", "versions", "counts", "metrics"):
        rows = getattr(comparison, title)
        if not rows:
            continue
        said = True
        change = ["change"] if title == "metrics" else []
        cells = [[row.step, row.what, *row.values, *(row.change for _ in change)] for row in rows]
        names = ["step", "what", *comparison.labels, *change]
        display.print_table(console, names, cells, right=range(2, len(names)), title=title)
    if not said:
        console.print("no difference")
    totals = ", ".join(
        f"{label} has {total}"
        for label, total in zip(comparison.labels, comparison.totals, strict=True)
    )
    console.print(f"{counted(comparison.shared, 'artifact')} in common; {totals}", markup=False)
