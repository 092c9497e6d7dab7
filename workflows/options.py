"""Arguments and options that several commands share, and where commands speak."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console

from workflows.runners import Kind

console = Console()
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = 100_000  # what reads a pipe or a file wants whole lines

StoreDir = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="DIR|URL",
        help="Where artifacts are kept: a folder, or s3://BUCKET/PREFIX.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="STAGE.PARAM=VALUE",
        help="Override a parameter (`tubelet describe RECIPE` has all); repeatable.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL",
        help="Where the videos lie: the path of the recipe's source, or s3://BUCKET/FOLDER.",
    ),
]
Only = Annotated[str | None, typer.Option(metavar="STAGE", help="Run just this stage.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="STAGE", help="Compute this stage and what rests on it anew."),
]
Force = Annotated[str | None, typer.Option(metavar="STAGE", help="Compute this stage anew.")]
Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="As `tubelet recipes` lists them, or a dotted path.")
]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that make training views, a device; default: by device."),
]
RunnerKind = Annotated[
    Kind,
    typer.Option(
        "--runner", help="What runs the stages: threads or processes here, a Dask or Ray cluster."
    ),
]
RunnerAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Of a Dask scheduler (tcp://HOST:8786) or a Ray cluster (HOST:6379); default: a "
        "cluster on this machine, for this run.",
    ),
]
NoPrefect = Annotated[bool, typer.Option("--no-prefect", help="Run without any server.")]
Workers = Annotated[
    int,
    typer.Option(
        min=1, help="Stages at a time; a cluster at an address takes as many as it has room for."
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of each stage.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
KeyOrStage = Annotated[
    str,
    typer.Argument(metavar="KEY|STAGE", help="A key or its beginning; of a stage the newest."),
]
ItemTimeout = Annotated[
    float, typer.Option(min=1, help="Seconds without news before a video counts as hanging.")
]
MaxFailedFraction = Annotated[
    float, typer.Option(min=0, max=1, help="Share of videos that may be quarantined.")
]
