"""Live artifacts on a real Prefect server: seen while a step runs, updated in place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.supervise import Event

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # Prefect's own dependencies warn
]


def artifacts(key: str) -> list[Any]:
    """Every version of the artifact, not the newest alone."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        return client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        )


def progress(fraction: float, text: str = "") -> Event:
    return Event("progress", None, fraction=fraction, text=text)  # type: ignore[arg-type]


def figures(name: str, **values: float) -> Event:
    return Event("figures", None, text=name, figures=values)  # type: ignore[arg-type]


def ended() -> Event:
    return Event("ended", None)  # type: ignore[arg-type]


def in_a_flow(work: Any) -> None:
    from prefect import flow, task

    @flow(name="live")
    def around() -> None:
        task(work)()

    around()


@pytest.mark.usefixtures("prefect_server")
def test_progress_and_table_are_there_while_the_step_runs() -> None:
    from workflows.live import Live

    seen: list[Any] = []

    def work() -> None:
        live = Live("training", "training", every_seconds=0)
        live(progress(0.25, "epoch 1, loss 2.000"))
        seen.append(artifacts("training-progress"))
        live(progress(0.5, "epoch 2, loss 1.000"))
        seen.append(artifacts("training-progress"))
        live(figures("epoch 1", loss=2.0))
        live(figures("epoch 2", loss=1.0, knn_accuracy=0.5))
        seen.append(artifacts("training-figures"))

    in_a_flow(work)
    ((first,), (second,), (table,)) = seen
    assert (first.data, first.description) == (25.0, "training: epoch 1, loss 2.000")
    assert (second.data, second.description) == (50.0, "training: epoch 2, loss 1.000")
    assert second.id == first.id
    assert second.task_run_id is not None
    assert json.loads(table.data) == [
        {"": "epoch 2", "loss": "1", "knn_accuracy": "0.5"},
        {"": "epoch 1", "loss": "2", "knn_accuracy": ""},
    ]


@pytest.mark.usefixtures("prefect_server")
def test_updates_are_rare_and_the_last_state_is_kept() -> None:
    from workflows.live import Live

    seen: list[Any] = []

    def work() -> None:
        live = Live("rare", "rare", every_seconds=3600)
        for i in range(5):
            live(progress(i / 10))
        seen.append(artifacts("rare-progress"))
        live(progress(1.0))
        live(ended())
        seen.append(artifacts("rare-progress"))

    in_a_flow(work)
    assert [one.data for (one,) in seen] == [0.0, 100.0]


def test_a_server_that_fails_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from workflows import live

    def fail(*arguments: Any, **more: Any) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(live, "create_progress_artifact", fail)
    told = live.Live("broken", "broken", every_seconds=0)
    for i in range(3):
        told(progress(i / 3))
    assert caplog.text.count("no more live artifacts") == 1
