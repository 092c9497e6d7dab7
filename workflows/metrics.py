"""The command ``metrics``: the numbers of an evaluation, and the same computed again."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.store import open_store
from storage_schemas.errors import ParameterError
from storage_schemas.metrics import MetricRow, Metrics
from workflows import display
from workflows.options import KeyOrStage, StoreDir, console
from workflows.runs import find_keys
from workflows.session import DEFAULT_STORE

_TOLERANCE = 1e-9


def metrics(
    what: KeyOrStage,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute each number again from the answers.")
    ] = False,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Print the numbers of an evaluation; with --recompute, exit status 1 if one differs."""
    opened = open_store(store)
    found = find_keys(opened, what)[-1]
    manifest = opened.read_manifest(found)
    if manifest.noun != Metrics.name:
        raise ParameterError(
            f"{found} holds {manifest.noun}, not {Metrics.name}; `tubelet show {manifest.stage}` "
            "describes it"
        )
    content = Metrics.open(opened.folder(found))
    again: list[tuple[MetricRow, float | None]] = [(row, None) for row in content.rows]
    if recompute:
        from stages.evaluate.scoring import recompute as computed_again

        again = computed_again(content)
    console.print(found, highlight=False)
    rows = []
    names = ["protocol", "preset", "version", "encoder", "split", "metric", "value", "95 %", "n"]
    names += ["again"] if recompute else []
    for row, value in again:
        cells = [row.protocol, row.preset, str(row.version), row.encoder, row.split, row.metric]
        interval = "" if row.low is None else f"{row.low:.4f}-{row.high:.4f}"
        cells += [f"{row.value:.4f}", interval, str(row.n)]
        if recompute:
            cells.append("no answers" if value is None else f"{value:.4f}")
        rows.append(cells)
    display.print_table(console, names, rows)
    wrong = [row for row, v in again if v is not None and abs(v - row.value) > _TOLERANCE]
    if recompute:
        console.print(f"{len(again)} numbers, {len(wrong)} differ from their answers")
    if wrong:
        raise typer.Exit(1)
