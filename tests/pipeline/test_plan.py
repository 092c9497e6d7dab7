"""The plan says what will run and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.ledger import Ledger
from pipeline.overrides import apply_overrides
from pipeline.plan import Plan, make_plan
from pipeline.records import read_record, write_record
from pipeline.run import run_plan
from pipeline.store import Store
from pipeline.supervise import Options
from stages.sources.folder import Folder
from storage_schemas.errors import ParameterError, StoreError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    root.mkdir()
    for name in "ab":
        (root / f"{name}.mp4").write_text(name)
    return root


def open_graph(store: Store, folder: Path, *settings: str) -> Graph:
    boxes = Probe().of(videos=Folder(path=folder).of())
    targets = apply_overrides([Count().of(boxes=Grow().of(boxes=boxes))], settings)
    ledger = Ledger(store.root / "ledger.jsonl")
    return expand(targets, ledger=ledger, digests=Digests(store.root / "digests.sqlite"))


def plan(store: Store, graph: Graph, **how: Any) -> Plan:
    return make_plan(graph, store, read_record(store, "r"), **how)


def run(store: Store, graph: Graph, **how: Any) -> None:
    planned = plan(store, graph, **how)
    write_record(store, "r", graph)
    run_plan(planned, store, Options(workers=1)).check(0)


def reasons(planned: Plan) -> dict[str, str]:
    return {f"{e.node.label}": e.reason for e in planned.to_run}


def test_reasons(store: Store, folder: Path) -> None:
    graph = open_graph(store, folder)
    assert set(reasons(plan(store, graph)).values()) == {"first run"}
    run(store, graph)
    assert reasons(plan(store, graph)) == {}

    changed = open_graph(store, folder, "grow.by=2.5")
    assert reasons(plan(store, changed)) == {
        "grow · part 0000": "grow.by 1.0 -> 2.5",
        "count": "upstream grow changed",
    }
    (folder / "c.mp4").write_text("c")
    assert reasons(plan(store, open_graph(store, folder))) == {
        "folder · part 0001": "1 new video",
        "probe · part 0001": "1 new video",
        "grow · part 0001": "1 new video",
        "count": "1 new video in grow",
    }
    (folder / "c.mp4").unlink()
    (folder / "a.mp4").write_text("replaced")
    assert reasons(plan(store, open_graph(store, folder))) == {
        "folder · part 0000": "content changed",
        "probe · part 0000": "upstream folder changed",
        "grow · part 0000": "upstream probe changed",
        "count": "upstream grow changed",
    }


def test_missing_output_and_damage(store: Store, folder: Path) -> None:
    graph = open_graph(store, folder)
    run(store, graph)
    (node,) = graph.of_step("grow")
    (store.folder(node.key) / "boxes.arrow").unlink()
    assert reasons(plan(store, graph)) == {
        "grow · part 0000": "output missing: boxes.arrow is missing"
    }
    store.discard(node.key)
    assert reasons(plan(store, graph)) == {"grow · part 0000": "output missing"}
    run(store, graph)
    assert reasons(plan(store, graph)) == {}


def test_version_is_a_reason(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store, open_graph(store, folder))
    monkeypatch.setattr(Grow, "version", 2)
    assert reasons(plan(store, open_graph(store, folder)))["grow · part 0000"] == (
        "grow version 1 -> 2"
    )


def test_only_from_force(store: Store, folder: Path) -> None:
    graph = open_graph(store, folder)
    with pytest.raises(StoreError, match="--only grow needs 'probe · part 0000'"):
        plan(store, graph, only="grow")
    run(store, graph)
    assert list(reasons(plan(store, graph, force="grow")).items()) == [
        ("grow · part 0000", "forced")
    ]
    assert set(reasons(plan(store, graph, from_step="grow"))) == {"grow · part 0000", "count"}
    changed = open_graph(store, folder, "grow.by=3")
    assert list(reasons(plan(store, changed, only="grow"))) == ["grow · part 0000"]
    with pytest.raises(ParameterError, match=r"step or stage 'grw'; did you mean 'grow'"):
        plan(store, graph, force="grw")


def test_a_run_of_one_step_leaves_the_record_of_the_others(store: Store, folder: Path) -> None:
    graph = open_graph(store, folder)
    run(store, graph)
    changed = open_graph(store, folder, "probe.seconds=0.01")
    write_record(store, "r", changed, only=["probe"])
    past = read_record(store, "r")
    assert past["probe"].parameters["seconds"] == 0.01
    # What reads it was last computed from the old one, so nothing upstream of it changed.
    assert past["grow"].parts["0000"].inputs == graph.of_step("grow")[0].input_keys()
    assert set(past) == set(graph.steps)


def test_estimate_comes_from_past_rates(store: Store, folder: Path) -> None:
    graph = open_graph(store, folder, "probe.seconds=0.2")
    assert all(e.seconds is None for e in plan(store, graph).entries)
    run(store, graph)
    (past,) = (store.read_manifest(key) for key in store.keys("probe"))
    assert past.seconds >= 0.2 * len(past.items)  # the machine may be slow, never faster
    planned = plan(store, open_graph(store, folder, "probe.seconds=0.21"))
    (entry,) = [e for e in planned.to_run if e.node.step == "probe"]
    per_video = past.seconds / len(past.items)
    assert entry.seconds == pytest.approx(per_video * len(entry.node.video_ids))
