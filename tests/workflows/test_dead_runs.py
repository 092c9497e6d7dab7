"""Which runs are marked as crashed: those whose note nobody holds, on a real server."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from pipeline.locks import lock_file
from pipeline.store import Store
from workflows.dead_runs import mark_dead_runs, note_run

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # Prefect's own dependencies warn
]


@pytest.fixture
def client() -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def running(client: Any, state: str = "Running") -> Any:
    """A flow run of whose process this server only knows that it began."""
    from prefect import flow, states

    return client.create_flow_run(flow(name="tubelet")(print), state=getattr(states, state)())


def note(store: Store, run_id: object, *, host: str = "", age_seconds: float = 0) -> Path:
    path = store.root / "prefect" / "running" / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": host or socket.gethostname(), "pid": 123}))
    os.utime(path, (time.time() - age_seconds,) * 2)
    return path


@pytest.mark.parametrize("state", ["Running", "Cancelling"])
def test_a_run_whose_note_nobody_holds_has_crashed(store: Store, client: Any, state: str) -> None:
    run = running(client, state)
    path = note(store, run.id)
    with lock_file(path):
        assert mark_dead_runs(store) == []
    assert mark_dead_runs(store) == [run.name]
    assert not path.exists()
    found = client.read_flow_run(run.id).state
    assert found.type.value == "CRASHED"
    assert found.message.startswith(f"its process 123 on {socket.gethostname()} is gone; finished")


def test_another_host_must_have_been_silent(store: Store, client: Any) -> None:
    recent, silent = running(client), running(client)
    note(store, recent.id, host="elsewhere", age_seconds=300)
    note(store, silent.id, host="elsewhere", age_seconds=900)
    assert mark_dead_runs(store) == [silent.name]
    assert client.read_flow_run(recent.id).state.is_running()


def test_what_ended_well_or_is_not_of_this_server_is_left_alone(store: Store, client: Any) -> None:
    ended = running(client, "Completed")
    stale, foreign = note(store, ended.id), note(store, uuid.uuid4())
    assert mark_dead_runs(store) == []
    assert client.read_flow_run(ended.id).state.is_completed()
    assert not stale.exists()
    assert foreign.exists()


@pytest.mark.parametrize("lease_ran_out", [False, True])
def test_a_dead_run_gives_back_its_slot_and_nobody_elses(
    store: Store, client: Any, lease_ran_out: bool
) -> None:
    from prefect import flow, states

    deployment_id = client.create_deployment(
        client.create_flow(flow(name="ingest")(print)),
        name=f"limited-{lease_ran_out}",
        concurrency_limit=2,
    )

    def begin() -> Any:
        run = client.create_flow_run_from_deployment(deployment_id)
        client.set_flow_run_state(run.id, states.Pending())
        client.set_flow_run_state(run.id, states.Running())
        return client.read_flow_run(run.id)

    def taken() -> int:
        slots: int = client.read_deployment(deployment_id).global_concurrency_limit.active_slots
        return slots

    dead, alive = begin(), begin()
    assert taken() == 2
    if lease_ran_out:
        client.release_concurrency_slots_with_lease(
            dead.state.state_details.deployment_concurrency_lease_id
        )
        assert taken() == 1
    note(store, dead.id)
    assert mark_dead_runs(store) == [dead.name]
    assert taken() == 1
    client.set_flow_run_state(alive.id, states.Completed())
    assert taken() == 0


def test_a_run_holds_its_note_and_nobody_marks_it(store: Store, client: Any) -> None:
    from prefect import flow
    from prefect.runtime import flow_run

    @flow(name="noted")
    def noted() -> tuple[str, list[str]]:
        note_run(store)
        note_run(store)
        return flow_run.id, mark_dead_runs(store)

    run_id, marked = noted()
    assert marked == []
    (path,) = (store.root / "prefect" / "running").iterdir()
    assert path.stem == run_id
    assert json.loads(path.read_text()) == {"host": socket.gethostname(), "pid": os.getpid()}
