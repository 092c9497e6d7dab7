"""Flow runs whose process was killed: Prefect would show them as running for ever.

::

    <store>/prefect/running/<flow run id>.json    who runs it: host, pid

A run holds the lock of its note, which the kernel frees when the process ends, however it
ends; a run that ends well takes its note away. Whoever starts next, with this store and the
same server, marks the flow runs of notes that nobody holds as crashed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.locks import lock_file
from pipeline.store import Store

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Hosts may share a folder and not its locks: there a note must be old as well.
_BEAT_SECONDS = 30.0
_SILENT_SECONDS = 600.0

logger = logging.getLogger("tubelet.dead_runs")

_noted: set[Path] = set()
_held = contextlib.ExitStack()  # until this process ends
atexit.register(_held.close)


def note_run(store: Store) -> None:
    """Hold the note of the flow run that we are in, from now to the end of this process."""
    from prefect.runtime import flow_run

    path = _folder(store) / f"{flow_run.id}.json"
    if path in _noted:
        return
    _noted.add(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unborn = path.with_suffix(f".{os.getpid()}")
    _held.enter_context(lock_file(unborn))
    unborn.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    unborn.rename(path)  # nobody sees a note that is not held
    _held.callback(path.unlink, missing_ok=True)
    threading.Thread(target=_beat, args=(path,), name="note", daemon=True).start()


def noted_runs() -> list[UUID]:
    """Flow runs of this process, those that have ended too."""
    return [UUID(path.stem) for path in _noted]


def _beat(path: Path) -> None:
    while path.exists():
        with contextlib.suppress(OSError):
            os.utime(path)
        time.sleep(_BEAT_SECONDS)


def mark_dead_runs(store: Store) -> list[str]:
    """Set flow runs whose process is gone to ``Crashed``, with their task runs.

    Of runs that this server does not know the notes stay, for the one that does.

    Returns
    -------
    list of str
        Names of the runs that were marked.
    """
    with contextlib.ExitStack() as locks:
        dead = list(_dead(store, locks))
        if not dead:
            return []
        from prefect.client.orchestration import get_client

        names: list[str] = []
        with get_client(sync_client=True) as client:
            for path in dead:
                try:
                    names += _bury(client, path)
                except Exception:  # the run that looks has work of its own to do
                    logger.warning("%s cannot be marked as dead", path, exc_info=True)
        return names


def _folder(store: Store) -> Path:
    return store.root / "prefect" / "running"


class _HeldError(Exception):
    pass


def _dead(store: Store, locks: contextlib.ExitStack) -> Iterator[Path]:
    """Notes that nobody holds, and that are held by us from now on."""

    def refuse() -> None:
        raise _HeldError

    for path in sorted(_folder(store).glob("*.json")):
        with contextlib.suppress(_HeldError, FileNotFoundError):
            locks.enter_context(lock_file(path, on_wait=refuse))
            text = path.read_text()
            if not text:  # its run took it away as we came, and the lock made it again
                path.unlink()
                continue
            elsewhere = json.loads(text)["host"] != socket.gethostname()
            if not elsewhere or time.time() - path.stat().st_mtime > _SILENT_SECONDS:
                yield path


def _bury(client: SyncPrefectClient, path: Path) -> Iterator[str]:
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    try:
        run = client.read_flow_run(UUID(path.stem))
    except ObjectNotFound:
        return
    if run.state is None or not run.state.is_final():
        note = json.loads(path.read_text())
        message = (
            f"its process {note['pid']} on {note['host']} is gone; finished videos are kept: run "
            "the same command to resume"
        )
        running = TaskRunFilterStateType(any_=[StateType.RUNNING])
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
            task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=running)),
        )
        for task in tasks:
            client.set_task_run_state(task.id, Crashed(message=message), force=True)
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        if run.deployment_id is not None:
            _count_slots(client, run.deployment_id)
        yield run.name
    path.unlink(missing_ok=True)


def _count_slots(client: SyncPrefectClient, deployment_id: UUID) -> None:
    """Set the slots of a deployment that are taken to those that live runs hold.

    A run that crashes gives its slot back. Where its lease had run out the server did that
    before, and gives away the slot of a run that is at work.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.client.schemas.objects import StateType

    limit = client.read_deployment(deployment_id).global_concurrency_limit
    if limit is None:
        return
    active = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    runs = client.read_flow_runs(
        deployment_filter=filters.DeploymentFilter(
            id=filters.DeploymentFilterId(any_=[deployment_id])
        ),
        flow_run_filter=filters.FlowRunFilter(
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=active))
        ),
    )
    states = [run.state for run in runs if run.state is not None]
    taken = sum(state.state_details.deployment_concurrency_lease_id is not None for state in states)
    if taken != limit.active_slots:
        client.update_global_concurrency_limit(
            limit.name, GlobalConcurrencyLimitUpdate(active_slots=taken)
        )
