"""Runs that the store remembers: the last, earlier ones, pinned ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe_stages import Grow, Probe

from pipeline import records
from pipeline.collect import find_garbage
from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.plan import make_plan
from pipeline.records import find_record, pin, pins, recorded_keys, unpin, write_record
from pipeline.run import run_plan
from pipeline.store import Store
from pipeline.supervise import Options
from stages.sources.folder import Folder
from storage_schemas.errors import StoreError


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.mp4").write_text("a")
    return root


def open_graph(store: Store, folder: Path, shift: int) -> Graph:
    targets = [Grow().of(boxes=Probe(shift=shift).of(videos=Folder(path=folder).of()))]
    ledger = Ledger(store.documents)
    return expand(targets, ledger=ledger, digests=Digests(store.root / "digests.sqlite"))


def test_earlier_runs_are_counted_back(store: Store, folder: Path) -> None:
    for shift in (1, 2, 2, 3):  # the same again is no other run
        write_record(store, "r", open_graph(store, folder, shift), settings=[f"shift={shift}"])
    found = {record.name: record.steps["probe"].parameters["shift"] for record in
             records.records(store)}  # fmt: skip
    assert found == {"r": 3, "r~1": 2, "r~2": 1}
    earlier = find_record(store, "r~2")
    assert earlier is not None
    assert (earlier.recipe, list(earlier.settings)) == ("r", ["shift=1"])
    assert find_record(store, "r~3") is None
    assert find_record(store, "other") is None


def test_only_so_many_are_kept(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KEPT", 2)
    for shift in range(5):
        write_record(store, "r", open_graph(store, folder, shift))
    shifts = [r.steps["probe"].parameters["shift"] for r in records.records(store)]
    assert shifts == [4, 3, 2]


def test_gc_keeps_pinned_runs(store: Store, folder: Path) -> None:
    graphs = [open_graph(store, folder, shift) for shift in (1, 2, 3)]
    for graph in graphs:
        write_record(store, "r", graph)
        run_plan(make_plan(graph, store, {}), store, Options(workers=1)).check(0)
    name = "r@folder.path=/a/b,probe.shift=2"
    earlier = find_record(store, "r~1")
    assert earlier is not None
    pin(store, earlier, name)
    assert [(r.name, r.recipe) for r in pins(store)] == [(name, "r")]
    assert set(find_record(store, name).keys()) == {n.key for n in graphs[1].nodes}  # type: ignore[union-attr]
    own = {n.key for n in graphs[0].nodes} - {n.key for n in graphs[1].nodes}
    assert {garbage.key for garbage in find_garbage(store)} == own
    unpin(store, name)
    assert {n.key for n in graphs[1].nodes} - set(recorded_keys(store))
    with pytest.raises(StoreError, match="no run is pinned as"):
        unpin(store, name)


def test_a_pin_is_not_moved_to_another_run(store: Store, folder: Path) -> None:
    for shift in (1, 2):
        write_record(store, "r", open_graph(store, folder, shift))
    last, earlier = find_record(store, "r"), find_record(store, "r~1")
    assert last is not None
    assert earlier is not None
    pin(store, earlier, "paper")
    pin(store, earlier, "paper")
    with pytest.raises(StoreError, match="another run is pinned as 'paper'"):
        pin(store, last, "paper")


def test_names_of_any_length(store: Store, folder: Path) -> None:
    record = records.graph_record(open_graph(store, folder, 1), name="x", recipe="r", settings=[])
    names = [f"r@{'probe.shift=1,' * 40}{end}" for end in "ab"]
    for name in names:
        pin(store, record, name)
    assert sorted(found.name for found in pins(store)) == names
