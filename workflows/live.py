"""What a running step shows in Prefect: a progress bar, and a table that grows.

A training tells both (`Context.progress`, `Context.figures`). Artifacts are updated in place
and not too often; a server that does not answer never costs the work that it would show.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from pipeline.supervise import Event

logger = logging.getLogger("tubelet.live")


class Live:
    """Takes the events of one step, inside of its task run.

    Parameters
    ----------
    name : str
        Begins the keys of the artifacts; lowercase letters, digits and dashes.
    label : str
        What the step is called in descriptions.
    every_seconds : float
        Least time between two updates of an artifact.
    """

    def __init__(self, name: str, label: str, *, every_seconds: float = 3.0) -> None:
        self._name, self._label, self._every = name, label, every_seconds
        self._rows: dict[str, Mapping[str, float]] = {}
        self._progress: tuple[float, str] | None = None
        self._ids: dict[str, UUID] = {}
        self._sent: dict[str, float] = {}
        self._pending: set[str] = set()
        self._broken = False

    def __call__(self, event: Event) -> None:
        """Take one event; the last state is shown when the step ends."""
        if event.kind == "progress":
            self._progress = (100 * event.fraction, event.text)
            self._pending.add("progress")
        elif event.kind == "figures":
            self._rows[event.text] = event.figures
            self._pending.add("figures")
        for what in sorted(self._pending):
            if event.kind == "ended" or time.monotonic() - self._sent.get(what, 0) > self._every:
                self._send(what)

    def _send(self, what: str) -> None:
        self._pending.discard(what)
        self._sent[what] = time.monotonic()
        if self._broken:
            return
        try:
            if what == "progress":
                self._send_progress()
            else:
                self._send_figures()
        except Exception:
            self._broken = True
            logger.warning("%s: no more live artifacts", self._label, exc_info=True)

    def _send_progress(self) -> None:
        assert self._progress is not None
        progress, text = self._progress
        description = f"{self._label}: {text}"
        if "progress" in self._ids:
            update_progress_artifact(self._ids["progress"], progress, description)
        else:
            self._ids["progress"] = _created(
                create_progress_artifact(
                    progress, key=f"{self._name}-progress", description=description
                )
            )

    def _send_figures(self) -> None:
        table = figures_table(self._rows)
        if "figures" in self._ids:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._ids["figures"], ArtifactUpdate(data=json.dumps(table)))
        else:
            self._ids["figures"] = _created(
                create_table_artifact(
                    table, key=f"{self._name}-figures", description=f"{self._label}: figures"
                )
            )


def figures_table(rows: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """The newest row first; numbers are shortened, what a row lacks is empty."""
    names = list(dict.fromkeys(name for values in rows.values() for name in values))
    return [
        {"": label, **{name: f"{row[name]:.4g}" if name in row else "" for name in names}}
        for label, row in reversed(list(rows.items()))
    ]


def _created(artifact: Any) -> UUID:
    assert isinstance(artifact, UUID)
    return artifact
