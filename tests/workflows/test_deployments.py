"""Deployments on a real server: forms, a work pool with a real worker, ``tubelet serve``, pages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from live_server import (
    API,
    CLIPS,
    PORT,
    ROOT,
    SMALL,
    TUBELET,
    call,
    environment,
    free_port,
    prefect,
    running,
    wait_for,
)

from pipeline.store import Store

FLOWS = ["ingest", "pretrain", "evaluate", "full"]

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.usefixtures("live_server"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # Prefect's own dependencies warn
]


@pytest.fixture(scope="module")
def deployed(live_server: Path) -> None:
    """``prefect.yaml`` in a pool of processes."""
    prefect("work-pool", "create", "local", "--type", "process")
    prefect("deploy", "--all")


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
    from workflows import deployments

    assert list(deployments.FLOWS) == FLOWS
    for flow in deployments.FLOWS.values():
        form = flow.parameters.model_dump()["properties"]
        assert all(field.get("description") for field in form.values())
        assert {"ctp_ucf101", "preprocess", "full"} <= set(form["recipe"]["enum"])
        for name in ("only", "from_stage", "force"):
            assert {"none", "slic", "pretrain", "report"} <= set(form[name]["enum"])
        assert (form["workers"]["minimum"], form["max_failed_fraction"]["maximum"]) == (1, 1)
        assert form["runner"]["enum"] == ["threads", "processes", "dask", "ray"]
    defaults = {
        name: flow.parameters.model_dump()["properties"]["recipe"]["default"]
        for name, flow in deployments.FLOWS.items()
    }
    assert defaults["ingest"] == "preprocess"


@pytest.mark.usefixtures("deployed")
def test_a_worker_runs_what_the_api_and_a_schedule_start(videos: Path, tmp_path: Path) -> None:
    deployments = {name: call(f"/deployments/name/{name}/local") for name in FLOWS}
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
    counts = ("computed", "cached", "new videos", "reused videos", "quarantined")
    assert [decode[name] for name in counts] == [1, 1, 1, 1, 0]
    assert decode["bytes"] > 0
    assert decode["seconds"] > 0


def test_a_cancelled_run_ends_its_children_and_resumes(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [*TUBELET, "serve", "ingest", "--data", str(videos), "--store", str(store)]
    command += ["--max-failed-fraction", "0.5"]
    with running([*command, "--port", str(free_port())], tmp_path, PREFECT_API_URL=API) as served:

        def deployment() -> Any:
            assert served.poll() is None, (tmp_path / "log").read_text()
            try:
                return call("/deployments/name/ingest/served")
            except urllib.error.HTTPError:
                return None

        served_ingest = wait_for(deployment)
        assert served_ingest["parameters"]["max_failed_fraction"] == 0.5
        ingest = served_ingest["id"]
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


def execute(deployment_id: str, parameters: dict[str, Any], folder: Path) -> Any:
    """Make a run of a deployment and start it, as a worker would."""
    run = call(f"/deployments/{deployment_id}/create_flow_run", {"parameters": parameters})
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", run["id"]]
    return run["id"], running(command, folder, PREFECT_API_URL=API)


@pytest.mark.usefixtures("deployed")
def test_too_many_bad_videos_pause_the_deployment(tmp_path: Path) -> None:
    """The automation is the one of the docs."""
    page = (ROOT / "docs" / "tasks" / "schedule-a-nightly-ingest.md").read_text()
    (tmp_path / "pause.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    prefect("automation", "create", "--from-file", str(tmp_path / "pause.yaml"))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    evaluate = call("/deployments/name/evaluate/local")["id"]
    parameters = {
        "recipe": "preprocess", "data": str(tmp_path / "videos"), "set": SMALL,
        "store": str(tmp_path / "store"),
    }  # fmt: skip
    run, process = execute(evaluate, parameters, tmp_path)
    with process as executed:
        executed.wait(120)
    assert states(evaluate) == ["Failed"], (tmp_path / "log").read_text()
    name = "tubelet.quarantine.exceeded"
    named = {"filter": {"event": {"name": [name]}}}
    (event,) = wait_for(lambda: call("/events/filter", named)["events"], seconds=30)
    assert event["payload"]["videos"] == ["bad.mp4"]
    assert "more than max_failed_fraction" in event["payload"]["message"]
    related = {one["prefect.resource.id"] for one in event["related"]}
    assert {f"prefect.flow-run.{run}", f"prefect.deployment.{evaluate}"} <= related
    wait_for(lambda: call(f"/deployments/{evaluate}")["paused"], seconds=30)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
SCREENSHOTS = os.environ.get("TUBELET_SCREENSHOTS")  # docs/images: the pictures of the docs


@pytest.mark.usefixtures("deployed")
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
def test_pages_show_the_run_its_picture_and_the_form(videos: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    for name in ("dog", "walker_a"):
        (videos / f"{name}.mp4").symlink_to(CLIPS / f"{name}.mp4")
    code = (
        "import sys; from workflows.deployments import ingest; ingest(data=sys.argv[1], store='s')"
    )
    run = [sys.executable, "-c", code, str(videos)]
    subprocess.run(run, env=environment(PREFECT_API_URL=API), cwd=tmp_path, check=True)
    (flow_run, *_) = call(
        "/flow_runs/filter",
        {
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
            "sort": "EXPECTED_START_TIME_DESC",
        },
    )
    of_run = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}}
    artifacts = {one["key"]: one["id"] for one in call("/artifacts/filter", of_run)}
    ingest = call("/deployments/name/ingest/local")["id"]
    pages = {
        "prefect-run": f"/runs/flow-run/{flow_run['id']}",
        "prefect-picture": f"/artifacts/artifact/{artifacts['track-preview']}",
        "prefect-table": f"/artifacts/artifact/{artifacts['preprocess-run']}",
        "prefect-form": f"/deployments/deployment/{ingest}/run",
    }
    asked, text, widths = set(), {}, []
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.on("request", lambda request: asked.add(request.url.partition("://")[2].split("/")[0]))
        for name, path in pages.items():
            page.goto(f"http://127.0.0.1:{PORT}{path}", timeout=120_000)
            page.wait_for_load_state("networkidle", timeout=120_000)
            if name == "prefect-picture":
                picture = page.locator("img[src^='data:image/jpeg']").first
                picture.wait_for(timeout=60_000)
                widths.append(picture.evaluate("image => image.naturalWidth"))
            page.wait_for_timeout(1500)  # the graph is drawn after the network has become idle
            text[name] = page.inner_text("body")
            if SCREENSHOTS:
                kind = "jpg" if name == "prefect-picture" else "png"
                page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.{kind}"))
        browser.close()
    assert "9 Task runs" in text["prefect-run"]
    assert "Completed" in text["prefect-run"]
    assert widths[0] > 300
    assert "new videos" in text["prefect-table"]
    for word in ("recipe", "data", "from_stage", "max_failed_fraction", "Run just this stage."):
        assert word in text["prefect-form"]
    assert asked - {""} == {f"127.0.0.1:{PORT}"}  # nothing comes from the internet
