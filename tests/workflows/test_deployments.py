"""Deployments on a real server: forms, a work pool with a real worker, ``tubelet serve``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.store import Store

ROOT = Path(__file__).parents[2]
CLIPS = ROOT / "assets" / "clips"
PORT = 4317
API = f"http://127.0.0.1:{PORT}/api"
TUBELET = [sys.executable, "-c", "from workflows.cli import main; main()"]
SMALL = ["detect.frame_stride=64", "track.backend.name=motion"]

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # Prefect's own dependencies warn
]


def call(path: str, body: Any = None) -> Any:
    """The server's answer to a request, as the pages of the UI make them."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        API + path, data=data, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def wait_for(what: Callable[[], Any], *, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.5)
    return found


def environment(**more: str) -> dict[str, str]:
    """Without what another server of these tests has set."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return inherited | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PYTHONWARNINGS": "ignore",
        **more,
    }


def prefect(*arguments: str) -> str:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(
        command,
        env=environment(PREFECT_API_URL=API),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(command: list[str], folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is interrupted in the end, as by Ctrl-C."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment(**more), cwd=folder, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """``tubelet ui``: other than the server of the other tests it makes scheduled runs."""
    folder = tmp_path_factory.mktemp("server")
    often = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}  # a minute otherwise
    with running([*TUBELET, "ui", "--port", str(PORT)], folder, **often) as process:
        wait_for(lambda: process.poll() is not None or answers())
        assert process.poll() is None, (folder / "log").read_text()
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def answers() -> bool:
    try:
        return call("/health") is True
    except OSError:
        return False


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "cup.mp4").symlink_to(CLIPS / "cup.mp4")
    return folder


def states(deployment_id: str) -> list[str]:
    body = {"deployments": {"id": {"any_": [deployment_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
    runs = call("/flow_runs/filter", body)
    return [run["state"]["name"] for run in runs if run["state"]["type"] != "SCHEDULED"]


def test_forms_have_choices_bounds_and_texts() -> None:
    from workflows.deployments import FLOWS

    assert list(FLOWS) == ["ingest", "pretrain", "evaluate", "full"]
    for flow in FLOWS.values():
        form = flow.parameters.model_dump()["properties"]
        assert all(field.get("description") for field in form.values())
        assert {"ctp_ucf101", "preprocess", "full"} <= set(form["recipe"]["enum"])
        for name in ("only", "from_stage", "force"):
            (choices,) = (one["enum"] for one in form[name]["anyOf"] if "enum" in one)
            assert {"slic", "pretrain", "report"} <= set(choices)
        assert (form["workers"]["minimum"], form["max_failed_fraction"]["maximum"]) == (1, 1)
    defaults = {
        name: flow.parameters.model_dump()["properties"]["recipe"]["default"]
        for name, flow in FLOWS.items()
    }
    assert defaults["ingest"] == "preprocess"


def test_a_worker_runs_what_the_api_and_a_schedule_start(videos: Path, tmp_path: Path) -> None:
    prefect("work-pool", "create", "local", "--type", "process", "--overwrite")
    prefect("deploy", "--all")
    deployments = {
        name: call(f"/deployments/name/{name}/local")
        for name in ("ingest", "pretrain", "evaluate", "full")
    }
    for deployment in deployments.values():
        assert deployment["schedules"]
        assert not any(one["active"] for one in deployment["schedules"])
        assert deployment["global_concurrency_limit"]["limit"] == 1
    ingest = deployments["ingest"]["id"]
    store = tmp_path / "store"
    parameters = {"data": str(videos), "store": str(store), "set": SMALL}
    call(f"/deployments/{ingest}/create_flow_run", {"parameters": parameters})

    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local"]
    with running(worker, tmp_path, PREFECT_API_URL=API):
        wait_for(lambda: states(ingest) == ["Completed"])
        (videos / "dog.mp4").symlink_to(CLIPS / "dog.mp4")
        soon = datetime.now(UTC) + timedelta(seconds=25)
        schedule = {"interval": 3600.0, "anchor_date": soon.isoformat(), "timezone": "UTC"}
        call(
            f"/deployments/{ingest}/schedules",
            [{"schedule": schedule, "active": True, "parameters": parameters}],
        )
        wait_for(lambda: states(ingest) == ["Completed", "Completed"])

    (*_, last) = call(
        "/flow_runs/filter",
        {
            "deployments": {"id": {"any_": [ingest]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
            "sort": "EXPECTED_START_TIME_ASC",
        },
    )
    assert last["created_by"]["type"] == "SCHEDULE"
    found = call("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [last["id"]]}}})
    (run,) = (json.loads(one["data"]) for one in found if one["key"] == "preprocess-run")
    (decode,) = (row for row in run if row["step"] == "decode")
    # The part is made anew, as it has one more video; its first one is in the old artifact.
    assert (decode["computed"], decode["new videos"], decode["quarantined"]) == (1, 2, 0)
    assert decode["bytes"] > 0
    assert decode["seconds"] > 0


def test_a_cancelled_run_ends_its_children_and_resumes(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [*TUBELET, "serve", "ingest", "--data", str(videos), "--store", str(store)]
    with running([*command, "--port", "4327"], tmp_path, PREFECT_API_URL=API) as served:

        def deployment() -> Any:
            assert served.poll() is None, (tmp_path / "log").read_text()
            try:
                return call("/deployments/name/ingest/served")
            except urllib.error.HTTPError:
                return None

        ingest = wait_for(deployment)["id"]
        slow = {"set": ["detect.tiles.rows=9", "detect.tiles.columns=9", "detect.frame_stride=1"]}
        run = call(f"/deployments/{ingest}/create_flow_run", {"parameters": slow})["id"]
        wait_for(lambda: list(store.glob("staging/detect-*/journal.jsonl")))
        children = psutil.Process(served.pid).children(recursive=True)
        assert children
        cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
        call(f"/flow_runs/{run}/set_state", cancelling)
        wait_for(lambda: states(ingest) == ["Cancelled"])
        wait_for(lambda: not any(child.is_running() for child in children), seconds=60)

        run = call(f"/deployments/{ingest}/create_flow_run", {"parameters": {"set": SMALL}})["id"]
        wait_for(lambda: states(ingest) == ["Cancelled", "Completed"])
        assert list(Store(store).keys("report"))
        (link,) = call(
            "/artifacts/filter",
            {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": ["report-link"]}}},
        )
        address = link["data"].partition("](")[2].rstrip(")")
        with urllib.request.urlopen(address, timeout=10) as page:
            assert b"tubelet preprocess" in page.read()
        served.send_signal(signal.SIGINT)
        assert served.wait(60) == 0
