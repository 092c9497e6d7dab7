"""A store in a bucket and several machines: each has a scratch folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from probe_stages import Grow, Probe
from s3_server import forget_clients, refuse
from stores import KEY, commit, objects, tamper

from pipeline import object_store
from pipeline.collect import find_garbage, remove
from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.object_store import ObjectStore
from pipeline.plan import make_plan
from pipeline.records import write_record
from pipeline.run import Result, run_plan
from pipeline.store import open_store
from pipeline.supervise import Options
from stages.sources.folder import Folder
from storage_schemas.boxes import Boxes
from storage_schemas.errors import StoreError

RECORD = json.dumps({"steps": {"probe": {"parts": {"0000": {"key": KEY}}}}})


class World:
    """A folder of videos, a bucket, and machines that have both."""

    def __init__(self, root: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.url, self._monkeypatch = root, url, monkeypatch
        self.folder = root / "videos"
        self.folder.mkdir()
        for name in "abc":
            (self.folder / f"{name}.mp4").write_text(name)

    def machine(self, name: str) -> ObjectStore:
        """The store, as this machine opens it; the environment is that of the machine then."""
        self._monkeypatch.setenv("TUBELET_SCRATCH", str(self.root / name))
        store = open_store(self.url)
        assert isinstance(store, ObjectStore)
        return store

    def graph(self, store: ObjectStore, **parameters: int) -> Graph:
        targets = [Grow().of(boxes=Probe(**parameters).of(videos=Folder(path=self.folder).of()))]
        digests = Digests(store.root / "digests.sqlite")
        try:
            return expand(targets, ledger=Ledger(store.documents), digests=digests)
        finally:
            digests.close()

    def run(self, store: ObjectStore, **parameters: int) -> Result:
        graph = self.graph(store, **parameters)
        write_record(store, "r", graph)
        result = run_plan(make_plan(graph, store, {}), store, Options(workers=1))
        result.check(0)
        return result


@pytest.fixture
def world(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, url, monkeypatch)


def test_another_machine_computes_nothing(world: World) -> None:
    first = world.machine("first")
    made = world.run(first)
    assert set(made.status.values()) == {"computed"}
    second = world.machine("second")
    assert second.root != first.root
    again = world.run(second)
    assert set(again.status.values()) == {"cached"}
    assert {m.created for m in again.manifests.values()} <= {
        m.created for m in made.manifests.values()
    }
    boxes = Boxes.open_part(second.folder(again.plan.graph.targets[0].key))
    assert list(boxes) == ["a.mp4", "b.mp4", "c.mp4"]


def test_the_scratch_may_be_deleted(world: World) -> None:
    store = world.machine("first")
    world.run(store)
    shutil.rmtree(store.root)
    (world.folder / "d.mp4").write_text("d")
    again = world.run(world.machine("first"))
    states = sorted(again.status.values())
    assert states == ["cached"] * 3 + ["computed"] * 3  # a part of its own for the new video
    assert world.machine("first").verify(again.computed()[-1].key) == []


COMMIT = """
import os, signal, sys
from pathlib import Path

from pipeline.store import describe_files, open_store
from storage_schemas.manifest import Manifest

url, name, doom, *keys = sys.argv[1:]
store = open_store(url)
if doom == "killed":
    store._bucket.create = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
for key in keys:
    with store.lock(key):
        data = store.staging(key) / "data"
        data.mkdir()
        for file in ("x.txt", "y.txt", "deep/z.txt"):
            (data / file).parent.mkdir(exist_ok=True)
            (data / file).write_text(f"{name} {file} " * 1000)
        manifest = Manifest(
            key=key, stage="probe", stage_version=1, step=name, noun="boxes", noun_version=1,
            parameters={}, inputs={}, part="0000", items=["v"], files=describe_files(data, {}),
        )
        print(store.commit(key, data, manifest, replace=doom == "replace").step, flush=True)
"""


def start(world: World, name: str, *keys: str, doom: str = "") -> subprocess.Popen[str]:
    """A writer on a machine of its own; it commits once it is told to `go`."""
    environment = os.environ | {"TUBELET_SCRATCH": str(world.root / name)}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMIT, world.url, name, doom, *keys],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(*processes: subprocess.Popen[str]) -> list[list[str]]:
    """Whose manifest each of them was given for each key."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0].splitlines() for process in processes]


def test_of_two_writers_one_wins_and_both_have_its_artifact(world: World) -> None:
    keys = [f"probe-{number:024x}" for number in range(8)]
    first, second = go(start(world, "first", *keys), start(world, "second", *keys))
    assert first == second
    assert set(first) <= {"first", "second"}
    store = world.machine("third")
    for key, winner in zip(keys, first, strict=True):
        assert store.read_manifest(key).step == winner
        assert store.verify(key) == []
        assert (store.folder(key) / "deep/z.txt").read_text().startswith(winner)
    data = [name for name in objects(store, "artifacts/") if not name.endswith("manifest.json")]
    assert len(data) == 3 * len(keys), "the loser takes its upload away"


def test_a_replaced_artifact_leaves_nothing_behind(world: World) -> None:
    assert go(start(world, "first", KEY)) == [["first"]]
    reader = world.machine("reader")
    assert reader.read_manifest(KEY).step == "first"
    assert go(start(world, "second", KEY)) == [["first"]]
    assert go(start(world, "second", KEY, doom="replace")) == [["second"]]
    assert len(objects(reader, "artifacts/")) == 4
    # What it knew of is gone; what is there now is read in its place.
    assert (reader.folder(KEY) / "x.txt").read_text().startswith("second")


def test_a_writer_that_is_killed_leaves_no_artifact(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = start(world, "first", KEY, doom="killed")
    assert go(doomed) == [[]]
    assert doomed.returncode == -signal.SIGKILL
    store = world.machine("second")
    assert len(objects(store, "artifacts/")) == 3, "its upload was whole"
    assert store.damage(KEY) == "absent"
    assert list(store.keys()) == []
    assert go(start(world, "second", KEY)) == [["second"]]
    assert store.verify(KEY) == []
    store.documents.write("runs/r.json", RECORD)
    assert find_garbage(store) == [], "it might be an upload that goes on"
    monkeypatch.setattr(object_store, "_ABANDONED", timedelta(0))
    (garbage,) = find_garbage(store)
    assert (garbage.kind, garbage.key.partition("/")[0]) == ("remains", KEY)
    assert remove(store, garbage)
    assert len(objects(store, "artifacts/")) == 4
    assert store.verify(KEY) == []


def test_a_changed_byte_is_found_and_never_read(world: World) -> None:
    go(start(world, "first", KEY))
    store = world.machine("second")
    tamper(store, "y.txt", (b"first y.txt " * 1000)[:-1] + b"?")
    assert store.damage(KEY) is None
    (problem,) = store.verify(KEY)
    assert problem.startswith("y.txt has sha256")
    with pytest.raises(StoreError, match=r"y.txt has sha256.*verify --discard"):
        store.folder(KEY)
    assert not [path for path in store.root.rglob("*.txt") if path.name.startswith(".")]


def test_one_file_is_fetched_alone(world: World) -> None:
    go(start(world, "first", KEY))
    store = world.machine("second")
    path = store.file(KEY, "deep/z.txt")
    assert path is not None
    assert path.read_text().startswith("first")
    assert [found.name for found in store.root.rglob("*.txt")] == ["z.txt"]
    assert (store.folder(KEY) / "x.txt").exists()


def test_copies_that_were_not_used_for_long_are_garbage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.machine("first")
    commit(store)
    store.documents.write("runs/r.json", RECORD)
    assert find_garbage(store) == []
    monkeypatch.setattr(object_store, "_UNUSED", timedelta(0))
    (copy,) = find_garbage(store)
    assert (copy.kind, copy.stage, copy.bytes) == ("copy", "probe", 5)
    assert remove(store, copy)
    assert not list(store.root.rglob("x.txt"))
    assert store.damage(KEY) is None
    assert (store.folder(KEY) / "x.txt").read_text() == "hello", "fetched again"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "s3://no-such-bucket/x",
            r"s3://no-such-bucket/x cannot be used.*create the bucket",
        ),
        ("s3://", "is no store: give a folder, or s3://BUCKET/PREFIX"),
        ("s3:/videos/store", "is no store: give a folder, or s3://BUCKET/PREFIX"),
        ("gs://bucket/store", "is no store: give a folder, or s3://BUCKET/PREFIX"),
    ],
)
def test_wrong_addresses_are_told(url: str, place: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        open_store(place)


@pytest.fixture
def _new_client() -> Iterator[None]:
    """One that has read the environment of the test, and that nobody uses after it."""
    forget_clients()
    yield
    forget_clients()


@pytest.mark.usefixtures("_new_client")
def test_no_answer_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"cannot be used .*127.0.0.1:9.*AWS_ENDPOINT_URL"):
        open_store(url)


@pytest.mark.usefixtures("_new_client")
def test_missing_credentials_are_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(StoreError, match=r"Unable to locate credentials.*the credentials"):
        open_store(url)


def test_wrong_credentials_are_told(s3: str, url: str) -> None:
    refuse(s3, True)
    try:
        with pytest.raises(StoreError, match=rf"{url} refuses access .*AWS_PROFILE"):
            open_store(url)
    finally:
        refuse(s3, False)
    assert open_store(url).damage(KEY) == "absent"


def test_an_unusable_scratch_is_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUBELET_SCRATCH", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"set TUBELET_SCRATCH"):
        open_store(url)


def test_conditional_writes_are_checked(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, ObjectStore)
    assert store.creates_once()
    assert objects(store) == ["store.json"]
