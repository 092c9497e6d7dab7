"""The plan says what will run and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from probe_stages import Count, Grow, Probe

from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.keys import parameters_of
from pipeline.ledger import Ledger
from pipeline.overrides import apply_overrides
from pipeline.plan import Plan, expected_seconds, find_samples, make_plan
from pipeline.records import read_record, write_record
from pipeline.run import run_plan
from pipeline.store import Store
from pipeline.supervise import Options
from stages.sources.folder import Folder
from storage_schemas.errors import ParameterError, StoreError
from storage_schemas.manifest import Manifest


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
    ledger = Ledger(store.documents)
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


def test_estimate_comes_from_runs_with_the_same_parameters(store: Store, folder: Path) -> None:
    """A quick run with others, later than all, must not make it short."""
    slow = open_graph(store, folder, "probe.seconds=0.2")
    entries = plan(store, slow).entries
    assert {(e.seconds, e.seconds_with_others) for e in entries} == {(None, None)}
    run(store, slow)
    (past,) = (store.read_manifest(key) for key in store.keys("probe"))
    assert past.seconds >= 0.2 * len(past.items)  # the machine may be slow, never faster
    run(store, open_graph(store, folder), only="probe")
    (folder / "c.mp4").write_text("c")
    planned = plan(store, open_graph(store, folder, "probe.seconds=0.2"))
    entries = [e for e in planned.to_run if e.node.step == "probe"]
    rate = past.seconds / len(past.items)
    assert [e.seconds for e in entries] == pytest.approx([rate])
    (count,) = (store.read_manifest(key) for key in store.keys("count"))
    assert planned.entries[-1].seconds == pytest.approx(count.seconds)  # not in the last run
    planned = plan(store, open_graph(store, folder, "probe.seconds=0.3"))
    entries = [e for e in planned.to_run if e.node.step == "probe"]
    assert [e.seconds for e in entries] == [None, None]
    assert 0 < sum(e.seconds_with_others or 0 for e in entries) < 3 * rate


def test_an_estimate_reads_few_manifests_of_a_large_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3,000 artifacts; older ones with the same parameters are found if they are not few."""
    stage = Probe(shift=1)
    manifest = Manifest(
        key="old", stage="probe", stage_version=1, step="probe", noun="boxes", noun_version=1,
        parameters=parameters_of(stage), inputs={}, part=None, items=["a", "b"], files={},
        seconds=3,
    )  # fmt: skip
    quick = replace(manifest, parameters=parameters_of(Probe(shift=2)), seconds=1)
    keys = ["old", *map(str, range(3000))]
    read: list[str] = []

    def read_manifests(keys: list[str]) -> list[Manifest]:
        read.extend(keys)
        return [manifest if key == "old" else quick for key in keys]

    monkeypatch.setattr(store, "keys", lambda stage: iter(keys))
    monkeypatch.setattr(store, "read_manifests", read_manifests)
    assert find_samples(store, Probe(shift=2)) == ([quick] * 8, [])
    assert len(read) == 8
    assert find_samples(store, stage) == ([], [quick] * 8)
    assert len(read) < 90
    keys[1:1] = ["old"] * 60
    same, others = find_samples(store, stage)
    assert same
    assert not others


@pytest.mark.parametrize(
    ("parts", "then", "seconds"),
    [
        ([(0, 2, 6), (1, 2, 2)], {}, 20.0),  # 2 s a video
        ([(None, 0, 90)], {"None": 30}, 30.0),
        ([(None, 0, 90)], {}, 90.0),  # of nobody knows how many videos
        ([(None, 0, 90), (None, 0, 30)], {}, 60.0),
        ([], {}, None),
    ],
)
def test_seconds_are_in_proportion_to_videos(
    parts: list[tuple[int | None, int, float]], then: dict[str, int], seconds: float | None
) -> None:
    """A gathering of 30 videos does not take its time for each of them."""
    samples = [
        Manifest(
            key=str(part), stage="s", stage_version=1, step="s", noun="n", noun_version=1,
            parameters={}, inputs={}, part=None if part is None else str(part),
            items=["v"] * items, files={}, seconds=taken,
        )
        for part, items, taken in parts
    ]  # fmt: skip
    assert expected_seconds(samples, 10, then) == seconds
