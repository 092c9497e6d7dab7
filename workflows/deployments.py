"""Deployments: flows that Prefect schedules and starts, with typed forms in its UI.

``prefect.yaml`` puts them into a work pool; ``tubelet serve`` serves them without one.
All four do what ``tubelet run`` does and differ in the recipe that they begin with.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from prefect import Flow, flow, get_run_logger
from pydantic import Field

from pipeline.graph import walk
from pipeline.run import Result
from pipeline.store import open_store
from pipeline.supervise import Event, Options
from workflows import recipes
from workflows.dead_runs import mark_dead_runs, note_run
from workflows.flow import run_in_flow, task_runner
from workflows.runners import Kind, Runner
from workflows.session import DEFAULT_STORE, Request, start

_RECIPES = tuple(recipes.names())
_STAGES = tuple(
    sorted({s.stage.name for name in _RECIPES for s in walk(recipes.load(name), unread=True)})
)
RecipeName = Literal[_RECIPES]  # type: ignore[valid-type]
# "none" and not None: Prefect's form hides the choices of what may be None.
StageName = Literal["none", *_STAGES]  # type: ignore[valid-type]
Device = Literal["auto", "cpu", "cuda"]

# Google's style, which is the one that Prefect reads the texts of its forms from.
_ARGUMENTS = """

Args:
    recipe: What to compute; `tubelet recipes` tells what there is.
    data: Folder of the videos, the path of the recipe's source, or s3://BUCKET/FOLDER.
    set: STAGE.PARAM=VALUE, parameters to change.
    only: Run just this stage.
    from_stage: Compute this stage and what rests on it anew.
    force: Compute this stage anew.
    store: Where artifacts are kept, as the machine that runs the flow sees it.
    workers: Stages at a time.
    threads: CPU threads of each stage.
    device: Where networks run.
    max_failed_fraction: Share of videos that may be quarantined before the run fails.
    runner: What runs the stages; threads or processes of one machine, or a cluster.
    runner_address: Of a Dask scheduler or a Ray cluster; empty for one that is started for the run.
"""


def _chosen(stage: str) -> str | None:
    return None if stage == "none" else stage


def _teller() -> Callable[[Event], None]:
    """Lines in the log of the flow run at hand."""
    logger = get_run_logger()

    def tell(event: Event) -> None:
        label = event.node.label
        if event.kind == "started":
            logger.info("%s: started", label)
        elif event.kind == "waiting":
            logger.info("%s: another run is computing it, waiting", label)
        elif event.kind == "item" and event.text:
            logger.warning("%s: quarantined: %s", label, event.text)
        elif event.kind == "ended" and event.status == "failed":
            logger.error("%s: %s", label, event.text)
        elif event.kind == "ended" and event.status != "cached":
            logger.info("%s: %s", label, event.status)

    return tell


def _deployed(name: str, recipe: str, description: str) -> Flow[..., Any]:
    def run(
        recipe: RecipeName = recipe,
        data: str = "",
        set: list[str] = [],  # noqa: B006 - Prefect copies it
        only: StageName = "none",
        from_stage: StageName = "none",
        force: StageName = "none",
        store: str = DEFAULT_STORE,
        workers: Annotated[int, Field(ge=1)] = Options.workers,
        threads: Annotated[int, Field(ge=1)] = 1,
        device: Device = "auto",
        max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = Options.max_failed_fraction,
        runner: Kind = "threads",
        runner_address: str = "",
    ) -> Any:
        where = Runner(runner, runner_address or None)
        where.check_server()
        request = Request(
            recipe,
            set,
            data=data or None,
            only=_chosen(only),
            from_step=_chosen(from_stage),
            force=_chosen(force),
        )
        opened = open_store(store)
        note_run(opened)
        for killed in mark_dead_runs(opened):
            get_run_logger().warning("%s was killed; it is marked as crashed", killed)
        options = Options(
            workers=workers,
            threads=threads,
            device=device,
            max_failed_fraction=max_failed_fraction,
        )
        result = Result(start(request, opened))
        return run_in_flow(result, opened, options, recipe=recipe, runner=where, on_event=_teller())

    run.__name__ = run.__qualname__ = name
    run.__doc__ = description + _ARGUMENTS
    return flow(
        name=name,
        description=description,
        flow_run_name="{recipe}",
        task_runner=task_runner(),
        persist_result=False,
    )(run)


ingest = _deployed("ingest", "preprocess", "New videos of a folder through all preprocessing.")
pretrain = _deployed("pretrain", "ctp_ucf101", "Pretrain an encoder; what is there is reused.")
evaluate = _deployed("evaluate", "evaluate", "What an encoder is worth, by the papers' protocols.")
full = _deployed("full", "full", "From a folder of videos to an encoder and its evaluation.")

FLOWS = {one.name: one for one in (ingest, pretrain, evaluate, full)}
