"""One recipe on threads, a pool of processes, Dask and Ray; workers are killed as it runs."""

from __future__ import annotations

import fcntl
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import command
import dask
import psutil
import pytest
from flaky_recipe import Flaky
from live_server import free_port
from probe_stages import Count, Grow

from pipeline.digests import Digests
from pipeline.execute import _locations as execute_locations
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.plan import make_plan
from pipeline.run import Result
from pipeline.store import Store
from pipeline.supervise import Event, Options
from stages.sources.folder import Folder
from storage_schemas.errors import MissingDependency, ParameterError
from workflows.runners import Runner

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # dependencies of Prefect, Dask and Ray warn
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the stages of the tests look for what they are to do; workers inherit it."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAKY", str(folder / "flaky"))
        patch.setenv("PROBE_LOG", str(folder / "log"))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield folder


@pytest.fixture(autouse=True)
def _quick(world: Path) -> None:
    (world / "flaky").unlink(missing_ok=True)
    (world / "log").unlink(missing_ok=True)


def make_videos(root: Path) -> Path:
    """Three parts of two; the last video hangs until it is told not to."""
    root.mkdir()
    for name in ("a", "b", "c", "d", "e", "slow"):
        (root / f"{name}.mp4").write_text(name)
    return root


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return make_videos(tmp_path / "videos")


def open_graph(store: Store, videos: Path) -> Graph:
    flaky = Flaky().of(videos=Folder(path=videos).of())
    ledger = Ledger(store.documents, part_size=2)
    targets = [Count().of(boxes=Grow().of(boxes=flaky))]
    return expand(targets, ledger=ledger, digests=Digests(store.root / "digests.sqlite"))


def run(
    store: Store,
    videos: Path,
    runner: Runner,
    name: str,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Result:
    from workflows.flow import run_flow

    plan = make_plan(open_graph(store, videos), store, {})
    return run_flow(
        plan, store, Options(workers=2), recipe=name, settings=[], on_event=on_event, runner=runner
    )


def digests(store: Store) -> dict[str, dict[str, str]]:
    return {
        key: {name: file.sha256 for name, file in store.read_manifest(key).files.items()}
        for key in list(store.keys())
    }


@pytest.fixture(scope="module")
def undisturbed(
    world: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: None
) -> dict[str, dict[str, str]]:
    """What threads make of the videos, where nobody disturbs them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (world / "flaky").touch()
    store = Store(folder / "store")
    run(store, make_videos(folder / "videos"), Runner(), "undisturbed").check(0)
    (world / "flaky").unlink()
    (world / "log").unlink()
    return digests(store)


def log(world: Path) -> list[str]:
    path = world / "log"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def children(store: Store, world: Path) -> list[psutil.Process]:
    """The processes that compute for the store, once one is in the slow video."""
    wait_for(lambda: "flaky slow.mp4" in log(world))
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "pipeline.child" in (words := process.info["cmdline"] or [""])
        and store.location in words[-1]
    ]


def states(name: str) -> tuple[str, list[tuple[str, str]]]:
    """State of the flow run, names and states of its tasks."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName

    with get_client(sync_client=True) as client:
        (flow_run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name]))
        )
        of_this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
        tasks = client.read_task_runs(flow_run_filter=of_this)
    return flow_run.state.name, sorted((task.name, task.state.name) for task in tasks)


@contextmanager
def started(*commands: list[str], folder: Path) -> Iterator[None]:
    """Processes of a cluster, each by its own command, ended in the end."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"}
    running = []
    try:
        with (folder / "cluster.log").open("w") as file:
            for command in commands:
                running.append(
                    subprocess.Popen(command, env=environment, cwd=folder, stdout=file, stderr=file)
                )
        yield
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(30)


@pytest.fixture(scope="module")
def dask_address(world: Path) -> Iterator[str]:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with started(scheduler, worker, worker, folder=world):
        yield address


@pytest.fixture(scope="module")
def ray_address(world: Path) -> Iterator[str]:
    port = free_port()
    head = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false",
    ]  # fmt: skip
    with started(head, folder=world):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def runner(request: pytest.FixtureRequest) -> Runner:
    if request.param in ("dask", "ray"):
        return Runner(request.param, request.getfixturevalue(f"{request.param}_address"))
    return Runner(request.param)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["processes", "dask", "ray"], indirect=True)
def test_a_killed_worker_costs_only_what_it_was_at(
    world: Path,
    tmp_path: Path,
    videos: Path,
    runner: Runner,
    undisturbed: dict[str, dict[str, str]],
) -> None:
    store = Store(tmp_path / "store")

    def kill() -> None:
        try:
            wait_for(lambda: len(list(store.keys("grow"))) == 2)  # the other parts are through
            (child,) = children(store, world)
            worker = child.parent()
            assert worker is not None
            assert worker.pid != os.getpid()
            worker.kill()
            wait_for(lambda: not child.is_running())
        finally:
            (world / "flaky").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    said: list[str] = []
    name = f"killed {runner.kind}"
    result = run(store, videos, runner, name, lambda e: said.append(f"{e.node.label}: {e.kind}"))
    killer.join()
    result.check(0)
    assert set(result.status.values()) == {"computed"}
    lines = log(world)
    assert lines.count("flaky slow.mp4") == 2
    assert all(lines.count(f"flaky {name}.mp4") == 1 for name in "abcde")
    assert said.count("flaky · part 0002: started") >= 1
    assert said.count("flaky · part 0002: item") >= 1
    assert said.count("count: ended") == 1
    assert digests(store) == undisturbed
    flow_state, tasks = states(name)
    assert flow_state == "Completed"
    assert ("flaky · part 0002", "Completed") in tasks
    assert len([task for task in tasks if task[1] == "Completed"]) == 10
    crashed = [task for task in tasks if task[1] == "Crashed"]
    assert len(tasks) == 10 + len(crashed)
    assert bool(crashed) == (runner.kind == "processes")


COMMAND = [sys.executable, "-c", "from workflows.entry import main; main()"]


@contextmanager
def tubelet(store: Store, videos: Path, runner: Runner) -> Iterator[subprocess.Popen[str]]:
    """``tubelet run`` as a terminal starts it, and all that it has started, ended in the end."""
    from prefect.settings import PREFECT_API_URL

    address = ["--runner-address", runner.address] if runner.address else []
    with subprocess.Popen(
        [
            *COMMAND, "run", "flaky_recipe", "--store", store.location, "--workers", "2",
            "--data", str(videos), "--runner", runner.kind, *address,
        ],
        env=os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        yield process
        process.kill()


def is_free(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["dask"], indirect=True)
def test_ctrl_c_of_a_terminal_ends_what_workers_do(
    world: Path, tmp_path: Path, videos: Path, runner: Runner
) -> None:
    """The workers are none of ours: only the scheduler can tell them."""
    store = Store(tmp_path / "store")
    with tubelet(store, videos, runner) as process:
        (child,) = children(store, world)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 130, out
        assert "interrupted; what is finished is kept" in out
        assert "Traceback" not in out
        assert not child.is_running()
        assert all(is_free(path) for path in (store.root / "locks").glob("flaky-*.lock"))
        flow_state, tasks = states(f'flaky_recipe folder.path="{videos}"')
        assert flow_state in ("Crashed", "Cancelled")
        assert tasks == [("flaky · part 0000", "Failed"), ("folder · part 0000", "Completed")]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["processes", "ray"], indirect=True)
def test_an_interrupt_ends_what_workers_do(
    world: Path, tmp_path: Path, videos: Path, runner: Runner
) -> None:
    store = Store(tmp_path / "store")

    def interrupt(event: Event) -> None:
        if event.kind == "started" and event.node.label == "flaky · part 0002":
            begun.extend(children(store, world))
            raise KeyboardInterrupt

    begun: list[psutil.Process] = []
    name = f"interrupted {runner.kind}"
    with pytest.raises(KeyboardInterrupt):
        run(store, videos, runner, name, interrupt)
    assert begun
    assert not [child for child in begun if child.is_running()]
    assert all(is_free(path) for path in (store.root / "locks").glob("flaky-*.lock"))
    flow_state, tasks = states(name)
    assert flow_state == "Crashed"
    assert {state for _, state in tasks} <= {"Completed", "Failed", "Crashed"}
    ended = dict(tasks)["flaky · part 0002"]
    assert ended == ("Failed" if runner.kind == "processes" else "Crashed")
    plan = make_plan(open_graph(store, videos), store, {})
    assert any("done already" in entry.reason for entry in plan.to_run)


@pytest.mark.usefixtures("prefect_server")
def test_nobody_at_the_address(world: Path, tmp_path: Path, videos: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ParameterError, match=f"no Dask cluster lets us in at {address}"),
    ):
        run(Store(tmp_path / "store"), videos, Runner("dask", address), "nobody")


def test_a_job_takes_no_graph_along(tmp_path: Path, videos: Path) -> None:
    """Each task is sent what it needs: not the parts before it, nor what is alive here."""
    from workflows.job import Job

    store = Store(tmp_path / "store")
    graph = open_graph(store, videos)
    (count,) = graph.of_step("count")
    flaky = graph.of_step("flaky")[0]
    for node in (count, flaky):
        job = Job(node, store, Options(), force=False, stop=None, on_event=pytest.fail)
        sent = pickle.dumps(job)
        assert b"slow.mp4" not in sent
        assert (b"a.mp4" in sent) == (node is flaky)  # from its source, which locates them
        received = pickle.loads(sent)
        assert received.node.input_keys() == node.input_keys()
        assert received.store.location == store.location
        received.on_event(Event("started", node))
    assert execute_locations(pickle.loads(pickle.dumps(flaky.alone())), store) == {
        name: str(videos / name) for name in ("a.mp4", "b.mp4")
    }


@pytest.mark.parametrize(
    ("kind", "address", "says"),
    [
        ("threads", "tcp://a:1", "--runner-address tcp://a:1 is for --runner dask and ray"),
        ("processes", "a:1", "for --runner dask and ray"),
    ],
)
def test_an_address_is_of_a_cluster(kind: Any, address: str, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        Runner(kind, address)


def test_an_extra_is_asked_for_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.runners.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r'pip install "tubelet\[dask\]"'):
        Runner("dask")
    Runner("processes")


@pytest.mark.parametrize(
    ("address", "api", "fine"),
    [
        (None, None, True),
        ("tcp://127.0.0.1:8786", None, True),
        ("tcp://10.0.0.5:8786", None, False),
        ("10.0.0.5:6379", "http://localhost:4200/api", False),
        ("ray://10.0.0.5:10001", "http://10.0.0.5:4200/api", True),
    ],
)
def test_workers_elsewhere_need_a_server_that_they_reach(
    address: str | None, api: str | None, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    if api:
        monkeypatch.setenv("PREFECT_API_URL", api)
    with nullcontext() if fine else pytest.raises(ParameterError, match="PREFECT_API_URL"):
        Runner("dask", address).check_server()


def test_only_threads_run_without_prefect(tmp_path: Path) -> None:
    told = command.tubelet(
        "run", "preprocess", "--runner", "processes", "--no-prefect",
        "--store", tmp_path / "store", fails=True,
    )  # fmt: skip
    assert "--runner processes is one of Prefect's; leave out --no-prefect" in told
