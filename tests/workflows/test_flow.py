"""The plan as a flow on a real Prefect server: names, states, dependencies, artifacts."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.plan import Plan, make_plan
from pipeline.run import Result
from pipeline.store import Store
from pipeline.supervise import Options
from stages.sources.folder import Folder
from storage_schemas.errors import TubeletError

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # Prefect's own dependencies warn
]


def open_graph(store: Store, folder: Path, **count: Any) -> Graph:
    boxes = Probe().of(videos=Folder(path=folder).of())
    targets = [Count(**count).of(boxes=Grow().of(boxes=boxes))]
    ledger = Ledger(store.documents, part_size=2)
    return expand(targets, ledger=ledger, digests=Digests(store.root / "digests.sqlite"))


def run(store: Store, graph: Graph, name: str, *settings: str, **options: Any) -> Result:
    return run_planned(store, make_plan(graph, store, {}), name, *settings, **options)


def run_planned(store: Store, plan: Plan, name: str, *settings: str, **options: Any) -> Result:
    from workflows.flow import run_flow

    return run_flow(
        plan,
        store,
        Options(workers=2, **options),
        recipe=name,
        settings=list(settings),
        on_event=lambda event: None,
    )


async def _read(name: str) -> tuple[Any, list[Any], list[Any]]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    async with get_client() as client:
        (flow_run, *_) = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        )
        from prefect.client.schemas.filters import FlowRunFilterId

        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
        tasks = await client.read_task_runs(flow_run_filter=chosen)
        artifacts = await client.read_artifacts(flow_run_filter=chosen)
        return flow_run, tasks, artifacts


def read(name: str) -> tuple[Any, list[Any], list[Any]]:
    return asyncio.run(_read(name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.mp4").write_text(name)
    return root


def test_states_tell_what_really_ran(store: Store, folder: Path) -> None:
    result = run(store, open_graph(store, folder), "first")
    result.check(0)
    flow_run, tasks, artifacts = read("first")
    assert flow_run.state.type.value == "COMPLETED"
    assert sorted(task.name for task in tasks) == [
        "count", "folder · part 0000", "folder · part 0001", "grow · part 0000",
        "grow · part 0001", "probe · part 0000", "probe · part 0001",
    ]  # fmt: skip
    assert {task.state.name for task in tasks} == {"Completed"}
    count = next(task for task in tasks if task.name == "count")
    inputs = {x.id for values in count.task_inputs.values() for x in values}
    assert inputs == {task.id for task in tasks if task.name.startswith("grow")}
    assert {a.key for a in artifacts} >= {"probe-table", "grow-table", "count-table", "first-run"}
    (progress,) = [a for a in artifacts if a.key == "count-progress"]
    assert (progress.data, progress.description) == (50.0, "count: half way")
    (figures,) = [a for a in artifacts if a.key == "count-figures"]
    assert json.loads(figures.data) == [{"": "first", "videos": "3"}]

    again = run(store, open_graph(store, folder), "second")
    assert again.computed() == []
    _, tasks, _ = read("second")
    assert {task.state.name for task in tasks} == {"Cached"}
    assert sorted(task.name for task in tasks) == [
        "count", "folder · 2 parts", "grow · 2 parts", "probe · 2 parts",
    ]  # fmt: skip


def test_failure_has_the_message_of_the_command_line(store: Store, folder: Path) -> None:
    result = run(store, open_graph(store, folder, fail=True), "failing")
    (error,) = result.errors.values()
    assert str(error) == "ValueError: made to fail [stage 'count']"
    flow_run, tasks, _ = read("failing")
    assert flow_run.state.type.value == "FAILED"
    assert flow_run.state.message == str(error)
    count = next(task for task in tasks if task.name == "count")
    assert (count.state.type.value, count.state.message) == ("FAILED", str(error))


def test_an_artifact_that_vanishes_after_planning_fails_the_run(store: Store, folder: Path) -> None:
    run(store, open_graph(store, folder), "whole").check(0)
    graph = open_graph(store, folder)
    plan = make_plan(graph, store, {})
    gone = graph.of_step("grow")[0].key
    shutil.rmtree(store.folder(gone))
    result = run_planned(store, plan, "vanished")
    assert result.status[gone] == "failed"
    with pytest.raises(TubeletError, match=gone):
        result.check(0)
    flow_run, _, _ = read("vanished")
    assert flow_run.state.type.value == "FAILED"


def test_what_rests_on_a_failure_is_blocked(store: Store, folder: Path) -> None:
    (folder / "full.mp4").write_text("full")
    result = run(store, open_graph(store, folder), "blocked")
    assert sorted(result.status.values()) == ["blocked"] * 2 + ["computed"] * 4 + ["failed"]


def test_braces_in_settings_do_not_break_the_name(store: Store, folder: Path) -> None:
    setting = 'x.y={"name": "z"}'
    run(store, open_graph(store, folder), "braces", setting).check(0)
    flow_run, _, _ = read(f"braces {setting}")
    assert flow_run.state.type.value == "COMPLETED"
