"""Before a server that lives as long as a run is stopped: it must know how the run ended.

Prefect tells the states of tasks to its server as events, from a queue of the client's, and
the server writes them down a little later. A server that stops first forgets the last ones,
and each event that it did not take holds up the end of our process for seven seconds.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection
from uuid import UUID

SETTINGS = {
    # One transaction for what came within a second, and not one an event. Prefect cuts fractions
    # off: less than a second would be none at all, and keep a core busy.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
}
_POLL_SECONDS = 0.6  # two of them are longer than a flush interval
_SEND_SECONDS = 120.0
_WRITE_SECONDS = 60.0

logger = logging.getLogger("tubelet.settle")


def send_events() -> None:
    """Wait until the server has taken the events of this process."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker

    sent = EventsWorker.drain_all(timeout=_SEND_SECONDS)
    assert isinstance(sent, tuple)  # outside of an event loop
    if sent[1]:
        logger.warning("Prefect's server did not take all events within %g s", _SEND_SECONDS)


def settle(flow_runs: Collection[UUID]) -> None:
    """Wait until the server has written down how the tasks of these runs ended."""
    send_events()
    deadline = time.monotonic() + _WRITE_SECONDS
    quiet = 0
    try:
        while flow_runs and quiet < 2 and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            quiet = 0 if _is_any_running(flow_runs) else quiet + 1
    except Exception:  # the work is done, whatever became of the server
        logger.warning("Prefect's server may not know how all tasks ended", exc_info=True)


def _is_any_running(flow_runs: Collection[UUID]) -> bool:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    running = filters.TaskRunFilterStateType(any_=[StateType.RUNNING])
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(
            flow_run_filter=filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=list(flow_runs))),
            task_run_filter=filters.TaskRunFilter(state=filters.TaskRunFilterState(type=running)),
            limit=1,
        )
    return bool(found)
