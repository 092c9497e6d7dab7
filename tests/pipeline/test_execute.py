"""Real child processes: crashes, hangs, bad videos, full disks, two runs at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.digests import Digests
from pipeline.execute import execute
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.plan import make_plan
from pipeline.records import write_record
from pipeline.run import Result, run_plan
from pipeline.store import Store
from pipeline.supervise import Event, Options
from stages.sources.folder import Folder
from storage_schemas.boxes import Boxes
from storage_schemas.errors import OutOfSpace, ParameterError, StageFailed, TooManyFailures
from storage_schemas.labels import Labels


def write_files(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"content of {name}")
    return folder


def open_graph(store: Store, folder: Path, *, part_size: int = 64, **parameters: Any) -> Graph:
    boxes = Probe(**parameters).of(videos=Folder(path=folder).of())
    targets = [Count().of(boxes=Grow().of(boxes=boxes))]
    ledger = Ledger(store.documents, part_size=part_size)
    return expand(targets, ledger=ledger, digests=Digests(store.root / "digests.sqlite"))


def run(store: Store, graph: Graph, **options: Any) -> Result:
    return run_plan(make_plan(graph, store, {}), store, Options(workers=2, **options))


def read_log(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "probe.log"
    monkeypatch.setenv("PROBE_LOG", str(path))
    return path


def file_digests(store: Store) -> dict[str, Any]:
    """What must not depend on interruptions: key -> digests of the data files."""
    return {key: dict(store.read_manifest(key).files) for key in list(store.keys())}


def test_a_file_system_that_is_away_for_a_moment_costs_no_video(
    store: Store, tmp_path: Path, log: Path
) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "bad.mp4", "stale.mp4")
    result = run(store, open_graph(store, folder))
    assert [row.video_id for row in result.quarantined] == ["bad.mp4"]
    assert log.with_suffix(".stale.mp4").read_text() == "xxx"  # failed twice, then went on


def test_second_run_computes_nothing(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    first = run(store, open_graph(store, folder))
    first.check(0)
    assert len(first.computed()) == 4
    assert sorted(read_log(log)) == ["grow a.mp4", "grow b.mp4", "probe a.mp4", "probe b.mp4"]
    log.unlink()
    second = run(store, open_graph(store, folder))
    assert second.computed() == []
    assert read_log(log) == []


def test_one_more_video_computes_one_video(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", *(f"{i:03d}.mp4" for i in range(10)))
    run(store, open_graph(store, folder, part_size=4)).check(0)
    log.unlink()
    write_files(folder, "005b.mp4")  # in the middle of the alphabet
    run(store, open_graph(store, folder, part_size=4)).check(0)
    assert sorted(read_log(log)) == ["grow 005b.mp4", "probe 005b.mp4"]


def test_replaced_video_touches_its_part_only(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", *(f"{i}.mp4" for i in range(6)))
    run(store, open_graph(store, folder, part_size=2)).check(0)
    log.unlink()
    (folder / "3.mp4").write_text("another content, another digest")
    run(store, open_graph(store, folder, part_size=2)).check(0)
    assert {line for line in read_log(log) if "probe" in line} == {"probe 2.mp4", "probe 3.mp4"}


def test_bad_videos_are_quarantined_with_their_cause(
    store: Store, tmp_path: Path, log: Path
) -> None:
    folder = write_files(tmp_path / "videos", "bad.mp4", "bug.mp4", "good.mp4")
    result = run(store, open_graph(store, folder))
    rows = {row.video_id: row for row in result.quarantined}
    assert set(rows) == {"bad.mp4", "bug.mp4"}
    assert (rows["bad.mp4"].error, rows["bad.mp4"].message) == ("BadVideo", "made to fail")
    assert (rows["bad.mp4"].frames_got, rows["bad.mp4"].frames_expected) == (1, 2)
    assert rows["bug.mp4"].message == "ZeroDivisionError: made to fail"
    assert all(row.stage == "probe" for row in rows.values())
    labels = Labels.open(store.folder(result.plan.graph.targets[0].key))
    assert [row.video_id for row in labels.rows] == ["good.mp4"]
    result.check(0.7)
    with pytest.raises(TooManyFailures, match=r"2 of 3 videos .* max_failed_fraction 0\.5"):
        result.check(0.5)


def test_video_that_crashes_the_decoder_costs_itself_only(
    store: Store, tmp_path: Path, log: Path
) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "crash.mp4", "z.mp4")
    result = run(store, open_graph(store, folder))
    (row,) = result.quarantined
    assert (row.video_id, row.error) == ("crash.mp4", "ItemCrash")
    assert "killed by SIGSEGV, 2 times" in row.message
    assert [line for line in read_log(log) if line.startswith("probe")] == [
        "probe a.mp4",
        "probe z.mp4",
    ]


def test_a_wrong_parameter_ends_the_run_and_quarantines_nobody(
    store: Store, tmp_path: Path
) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "misset.mp4")
    result = run(store, open_graph(store, folder))
    assert result.quarantined == []
    with pytest.raises(ParameterError, match="a parameter that fits no video"):
        result.check(1.0)


def test_a_single_kill_from_outside_quarantines_nobody(
    store: Store, tmp_path: Path, log: Path
) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "once.mp4")
    result = run(store, open_graph(store, folder))
    result.check(0)
    assert log.with_suffix(".once").exists()
    assert read_log(log).count("probe a.mp4") == 1


def test_video_that_hangs_is_ended(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "hang.mp4")
    result = run(store, open_graph(store, folder), item_timeout_seconds=3)
    (row,) = result.quarantined
    assert row.video_id == "hang.mp4"
    assert "gave no news for 3 s" in row.message


def test_full_disk_stops_the_run_and_keeps_what_is_done(
    store: Store, tmp_path: Path, log: Path
) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "full.mp4")
    graph = open_graph(store, folder)
    result = run(store, graph)
    with pytest.raises(OutOfSpace, match="finished videos are kept"):
        result.check(1)
    assert result.quarantined == []
    assert [result.status[node.key] for node in graph.nodes] == [
        "computed", "failed", "blocked", "blocked",
    ]  # fmt: skip
    plan = make_plan(graph, store, {})
    assert "1 video done already" in plan.entries[1].reason
    begun: list[Event] = []
    run_plan(plan, store, Options(workers=1), on_event=begun.append)
    assert [(e.done, e.total) for e in begun if e.kind == "started"] == [(1, 2)]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_really_full_file_system(tmp_path: Path, make_video: Any) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(mount)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no mount here: {done.stderr.decode()}")
    try:
        folder = tmp_path / "videos"
        for i in range(12):
            make_video(folder / f"{i}.mp4", seed=i)
        from stages.decode.decode import Decode

        targets = [Decode().of(videos=Folder(path=folder).of())]
        store = Store(mount / "store")
        graph = expand(
            targets,
            ledger=Ledger(store.documents),
            digests=Digests(tmp_path / "digests.sqlite"),
        )
        result = run(store, graph)
        with pytest.raises(OutOfSpace, match="no space left"):
            result.check(1)
        assert result.quarantined == []
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_gather_error_names_stage_and_cause(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4")
    boxes = Probe().of(videos=Folder(path=folder).of())
    graph = expand(
        [Count(fail=True).of(boxes=boxes)],
        ledger=Ledger(store.documents),
        digests=Digests(store.root / "digests.sqlite"),
    )
    with pytest.raises(StageFailed, match=r"ValueError: made to fail \[stage 'count'\]"):
        run(store, graph).check(0)


def test_events_tell_progress(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    events: list[Event] = []
    graph = open_graph(store, folder)
    run_plan(make_plan(graph, store, {}), store, Options(workers=1), on_event=events.append)
    probe = [e.kind for e in events if e.node.step == "probe"]
    assert probe == ["started", "item", "item", "ended"]
    assert any(e.kind == "progress" and e.text == "half way" for e in events)


def test_two_runs_at_once_share_the_work(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(run(store, open_graph(store, folder, seconds=0.2)))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_log(log)) == sorted(
        f"{step} {name}.mp4" for step in ("probe", "grow") for name in "abc"
    )
    for result in results:
        result.check(0)


def test_forced_recomputation_replaces_the_artifact(
    store: Store, tmp_path: Path, log: Path
) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4")
    graph = open_graph(store, folder)
    run(store, graph).check(0)
    before = file_digests(store)
    (node,) = graph.of_step("probe")
    status, _ = execute(node, store, Options(), force=True)
    assert status == "computed"
    assert read_log(log).count("probe a.mp4") == 2
    assert file_digests(store) == before


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_execute import open_graph, run
from pipeline.store import Store
store = Store(Path(sys.argv[1]))
run(store, open_graph(store, Path(sys.argv[2]), part_size=4, seconds=0.2)).check(0)
"""


@pytest.mark.kill
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_at_random_moments(tmp_path: Path, log: Path, seed: int) -> None:
    """Kills the run, or one of its children, again and again; nothing is done twice."""
    rng = random.Random(seed)
    folder = write_files(tmp_path / "videos", *(f"{i:02d}.mp4" for i in range(10)))
    code = RUN.format(tests=str(Path(__file__).parent))
    root = tmp_path / "killed"
    finished: set[tuple[str, str]] = set()
    kills = 0
    while True:
        process = subprocess.Popen([sys.executable, "-c", code, str(root), str(folder)])
        # Mostly from its first child on: a busy machine takes seconds to get there, and
        # kills before that would go on for ever.
        if rng.random() < 0.8:
            while process.poll() is None and not _children(process.pid):
                time.sleep(0.01)
        deadline = time.monotonic() + rng.uniform(0.1, 1.2)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        kills += 1
        children = _children(process.pid)
        if children and rng.random() < 0.5:
            os.kill(rng.choice(children), signal.SIGKILL)  # the run itself goes on
            assert process.wait(timeout=60) == 0
            break
        process.kill()
        process.wait()
        finished |= _finished(root)
        assert kills < 40
    whole = Store(tmp_path / "whole")
    lines = read_log(log)
    run(whole, open_graph(whole, folder, part_size=4, seconds=0.2)).check(0)
    assert file_digests(Store(root)) == file_digests(whole)
    assert kills > 0
    for step, video_id in finished:
        assert lines.count(f"{step} {video_id}") == 1, (step, video_id)


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task")
    found: list[int] = []
    for task in path.glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def _finished(root: Path) -> set[tuple[str, str]]:
    """Videos whose result lies on the disk, committed or staged, as (step, id)."""
    found = set()
    for job_path in (root / "staging").glob("*/job.json"):
        try:
            job = json.loads(job_path.read_text())
        except ValueError:
            continue
        step = job_path.parent.name.rpartition("-")[0]
        for name in (
            os.listdir(job_path.parent / "items") if (job_path.parent / "items").exists() else []
        ):
            if not name.endswith(".tmp"):
                found.add((step, job["items"][int(name)]))
    for manifest in (root / "artifacts").glob("*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        if content["stage"] in ("probe", "grow"):
            found |= {(content["stage"], video_id) for video_id in content["items"]}
    return found


def test_children_die_with_the_run(tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "hang.mp4")
    code = RUN.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store"), str(folder)])
    for _ in range(200):
        if children := _children(process.pid):
            break
        time.sleep(0.05)
    time.sleep(1.5)  # into the hanging video
    process.kill()
    process.wait()
    for _ in range(100):
        if not any(_alive(child) for child in children):
            return
        time.sleep(0.05)
    pytest.fail(f"children {children} outlived the run")


def test_ctrl_c_ends_the_children(tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4", "hang.mp4")
    code = RUN.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(tmp_path / "store"), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if "probe a.mp4" in read_log(log):
            break
        time.sleep(0.05)
    children = _children(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) != 0
    assert not any(_alive(child) for child in children)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_record_is_written_for_plans(store: Store, tmp_path: Path, log: Path) -> None:
    folder = write_files(tmp_path / "videos", "a.mp4")
    graph = open_graph(store, folder)
    write_record(store, "x", graph)
    run(store, graph).check(0)
    assert {e.action for e in make_plan(graph, store, {}).entries} == {"cached"}
    assert Boxes.open_part(store.folder(graph.of_step("grow")[0].key))["a.mp4"].xyxy.shape == (1, 4)
