"""Every data set, in its official layout, through one run: frames, labels, boxes, masks."""

from __future__ import annotations

from pathlib import Path

import miniatures
import numpy as np
import pytest

from pipeline.digests import Digests
from pipeline.expand import Graph, expand
from pipeline.graph import Step
from pipeline.ledger import Ledger
from pipeline.overrides import apply_overrides
from pipeline.plan import make_plan
from pipeline.run import run_plan
from pipeline.source import labels_of
from pipeline.store import Store
from pipeline.supervise import Options
from stages.decode.decode import Decode
from stages.report.report import Report
from stages.sources.folder import Folder
from stages.sources.jhmdb import JhmdbMasks, PuppetMasks
from stages.sources.mini_kinetics200 import HumanBoxes, MiniKineticsBoxes
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames
from storage_schemas.labels import Labels
from storage_schemas.noun import Items

World = tuple[Store, Graph]


def of_data_set(name: str, root: Path) -> list[Step]:
    """A recipe written for a folder, with another source put in its place."""
    videos = Folder().of()
    frames = Decode().of(videos=videos, step_name=f"{name}_frames")
    targets = [Report().of(about=[frames, labels_of(videos)])]
    paths = miniatures.SETTINGS.get(name, [f"{name}.path=."])
    settings = [setting.replace("=", f"={root}/") for setting in paths]
    (report,) = apply_overrides(targets, [f"source={name}", *settings])
    return list(report.inputs["about"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("datasets")
    targets: list[Step] = []
    for name, write in miniatures.WRITERS.items():
        (root / name).mkdir()
        write(root / name)
        targets += of_data_set(name, root / name)
    frames = {step.name: step for step in targets}
    masks = JhmdbMasks(path=root / "jhmdb").of()
    boxes = MiniKineticsBoxes(path=root / "mini_kinetics200").of()
    targets += [
        PuppetMasks().of(masks=masks, frames=frames["jhmdb_frames"]),
        HumanBoxes().of(boxes=boxes, frames=frames["mini_kinetics200_frames"]),
    ]
    store = Store(root / "store")
    digests = Digests(store.root / "digests.sqlite")
    graph = expand(targets, ledger=Ledger(store.documents), digests=digests)
    digests.close()
    run_plan(make_plan(graph, store, {}), store, Options(workers=2)).check(0.0)
    return store, graph


def items(world: World, step: str, noun: type) -> Items:  # type: ignore[type-arg]
    store, graph = world
    return Items(noun, [store.folder(node.key) for node in graph.of_step(step)])


def labels(world: World, name: str) -> Labels:
    store, graph = world
    (node,) = graph.of_step(f"{name}_labels")
    return Labels.open(store.folder(node.key))


@pytest.mark.parametrize("name", miniatures.WRITERS)
def test_labels_and_frames_of_every_video_are_in_the_store(world: World, name: str) -> None:
    found, frames = labels(world, name), items(world, f"{name}_frames", Frames)
    assert len(found.classes) == 2
    assert {row.video_id for row in found.rows} == set(frames)
    splits = [row.split for row in found.rows]
    tests = 32 if name == "imagenet9" else 4
    assert (splits.count("train"), len(splits)) == (4, 4 + tests)
    length = 1 if name == "imagenet9" else miniatures.FRAMES
    assert {len(frames[video_id]) for video_id in frames} == {length}
    assert bool(found.handed) == name.startswith("something")
    notes = world[1].notes[name]
    assert not [note for note in notes if "missing" in note or "in no list" in note]


def test_what_each_source_says_of_the_official_counts(world: World) -> None:
    notes = world[1].notes
    for name, official in {
        "ucf101": "9537", "hmdb51": "3570", "something_v2": "168913", "something_v1": "86017",
        "jhmdb": "928", "mini_kinetics200": "80000", "imagenet9": "4050",
    }.items():  # fmt: skip
        assert any(official in note for note in notes[name]), name


@pytest.mark.parametrize(
    ("step", "name"), [("puppet_masks", "jhmdb"), ("human_boxes", "mini_kinetics200")]
)
def test_truth_lies_beside_the_frames(world: World, step: str, name: str) -> None:
    truth, found = items(world, step, Boxes), labels(world, name)
    assert set(truth) == {row.video_id for row in found.rows}
    for row in found.rows:
        boxes = truth[row.video_id]
        masks_THW = miniatures.masks(found.classes.index(row.label))
        assert boxes.frame.tolist() == list(range(miniatures.FRAMES))
        for t, (x1, y1, x2, y2) in enumerate(boxes.xyxy.round().astype(int)):
            ys, xs = np.nonzero(masks_THW[t])
            assert (x1, y1, x2, y2) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            if step == "puppet_masks":
                np.testing.assert_array_equal(boxes.mask(t), masks_THW[t])
