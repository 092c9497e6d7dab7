"""Task runs that nobody will tell the end of: their worker was killed, or had to stop.

Workers tell Prefect of their tasks themselves. `workflows.dead_runs` is about whole runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from httpx import HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Crashed

_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.5  # three of them are longer than the server takes to write a state down
_LATE_SECONDS = 5.0


def mark_crashed(messages: Mapping[UUID, str]) -> None:
    """Tell Prefect of task runs that were lost; it would show them as running for ever."""
    if not messages:
        return
    left, deadline = dict(messages), time.monotonic() + _LATE_SECONDS
    with get_client(sync_client=True) as client:
        while left and time.monotonic() < deadline:
            for task_run_id, message in list(left.items()):
                with _unknown_passed_over():
                    client.set_task_run_state(task_run_id, Crashed(message=message), force=True)
                    del left[task_run_id]
            time.sleep(0.5 if left else 0)


@contextmanager
def _unknown_passed_over() -> Iterator[None]:
    """Of a task that never began Prefect knows nothing, and of others it hears late."""
    try:
        yield
    except HTTPStatusError as error:
        if error.response.status_code != 404:
            raise


def close_task_runs() -> None:
    """Give running tasks a while to tell how they were stopped; then tell it for them."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    of_this = FlowRunFilter(id=FlowRunFilterId(any_=[context.flow_run.id]))
    types = TaskRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])
    still = TaskRunFilter(state=TaskRunFilterState(type=types))
    deadline = time.monotonic() + _STOP_SECONDS
    quiet = 0
    with get_client(sync_client=True) as client:
        while quiet < 3 and time.monotonic() < deadline:
            runs = client.read_task_runs(flow_run_filter=of_this, task_run_filter=still)
            quiet = 0 if runs else quiet + 1
            time.sleep(_POLL_SECONDS)
    mark_crashed({run.id: "the run was stopped" for run in runs})
