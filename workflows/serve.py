"""``tubelet serve``: the deployments without a work pool, in one process with the server."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from pipeline.remote import absolute
from pipeline.store import open_store
from pipeline.supervise import Options
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError
from workflows import options, server
from workflows.options import Data, Set, StoreDir, console
from workflows.session import DEFAULT_STORE

DEPLOYMENT = "served"


def serve(
    flows: Annotated[
        list[str] | None,
        typer.Argument(metavar="FLOW", help="ingest, pretrain, evaluate, full; default: all."),
    ] = None,
    data: Data = None,
    settings: Set = None,
    cron: Annotated[
        str | None, typer.Option(help='When to start by itself, as "0 3 * * *" (UTC).')
    ] = None,
    interval: Annotated[
        float | None, typer.Option(min=1, help="Seconds from start to start.")
    ] = None,
    max_failed_fraction: options.MaxFailedFraction = Options.max_failed_fraction,
    store: StoreDir = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="Port of the server.")] = server.PORT,
) -> None:
    """Serve Prefect with forms for runs, and start them on a schedule; Ctrl-C ends it.

    --data, --set, --cron and --interval are for one flow, as in ``tubelet serve ingest
    --data ~/videos --cron "0 3 * * *"``. Two runs of a flow never overlap.
    """
    names = flows or []
    scheduled = cron is not None or interval is not None
    if (scheduled or data or settings) and len(names) != 1:
        raise ParameterError("--data, --set, --cron and --interval need one flow: name it")
    if cron is not None and interval is not None:
        raise ParameterError("--cron and --interval are two schedules; choose one")
    opened = open_store(store)
    parameters: dict[str, Any] = {
        "store": opened.location,
        "max_failed_fraction": max_failed_fraction,
    }
    if data is not None:
        parameters["data"] = absolute(data)
    if settings:
        parameters["set"] = settings
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")  # what runs tell is shown here, too
    with server.started(opened, port) as url:
        server.announce(url)
        _serve(names, parameters, cron=cron, interval=interval)


def _serve(
    names: list[str], parameters: dict[str, Any], *, cron: str | None, interval: float | None
) -> None:
    import prefect
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    from workflows.deployments import FLOWS

    unknown = [name for name in names if name not in FLOWS]
    if unknown:
        raise ParameterError(f"no flow is named {unknown[0]!r}; {suggest(unknown[0], FLOWS)}")
    limit = ConcurrencyLimitConfig(
        limit=1,
        collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        if cron or interval
        else ConcurrencyLimitStrategy.ENQUEUE,
    )
    made = [
        FLOWS[name].to_deployment(
            DEPLOYMENT,
            parameters=parameters,
            cron=cron,
            interval=interval,
            concurrency_limit=limit,
            tags=["tubelet"],
        )
        for name in names or FLOWS
    ]
    for name in names or FLOWS:
        console.print(f"serving {name}/{DEPLOYMENT}", highlight=False)
    prefect.serve(*made, print_starting_message=False)  # type: ignore[arg-type]
