"""The evaluate recipe: any preset from the command line, and all of it on tiny UCF101 files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import miniatures
import numpy as np
import pytest
import torch

from pipeline.graph import walk
from pipeline.overrides import apply_overrides
from pipeline.run import run_plan
from pipeline.store import Store
from pipeline.supervise import Options
from stages.evaluate.finetune import Finetune
from stages.evaluate.finetune_presets import FINETUNE
from stages.evaluate.recognise import Recognise
from stages.evaluate.scoring import recompute
from stages.report.published import origin_of
from storage_schemas.errors import ParameterError
from storage_schemas.jpeg import decode_jpeg
from storage_schemas.manifest import PREVIEW_NAME
from storage_schemas.metrics import Metrics
from workflows import recipes, show
from workflows.catalogue import find_stages
from workflows.session import Request, open_graph, open_plan


def stages_of(*settings: str) -> dict[str, Any]:
    steps = walk(apply_overrides(recipes.load("evaluate"), settings))
    return {step.name: step.stage for step in steps}


@pytest.mark.parametrize("preset", FINETUNE)
def test_a_preset_is_one_setting_a_stage(preset: Any) -> None:
    """The values of the recipe's own preset must not stay behind."""
    found = stages_of(f"finetune.preset={preset}", f"recognise.preset={preset}")
    assert found["finetune"] == Finetune(preset=preset)
    assert found["recognise"] == Recognise(preset=preset)


def test_a_value_by_name_wins_over_the_preset() -> None:
    found = stages_of("finetune.preset=fame_ucf101", "finetune.head.dropout=0.1")
    assert found["finetune"].head.dropout == 0.1
    assert found["finetune"].optimisation.learning_rate == 0.025


def test_features_follow_their_preset() -> None:
    assert stages_of("features.preset=constcl")["features"].num_views == 30


def test_weights_are_given_by_their_file(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "encoder.pth")
    settings = (
        f"given_encoder.weights={tmp_path / 'encoder.pth'}",
        "given_encoder.encoder.name=s3d",
    )
    stage = stages_of(*settings)["given_encoder"]
    assert stage.weights.path == tmp_path / "encoder.pth"
    assert stage.encoder.name == "s3d"


CLASSES = ("Red", "Blue")
SMALL = {
    "num_clips": 2, "num_frames": 4, "frame_stride": 1, "size": 32, "short_side": 32,
    "long_side": 40,
}  # fmt: skip
TINY = (
    "given_encoder.encoder.width=4",
    *(f"features.{name}={value}" for name, value in SMALL.items()),
    *(f"recognise.{name}={value}" for name, value in SMALL.items()),
    *(f"encoder_maps.{name}={value}" for name, value in SMALL.items()),
    *(f"class_maps.{name}={value}" for name, value in SMALL.items()),
    "finetune.clips.num_frames=4", "finetune.clips.size=32", "finetune.clips.short_sides=[32,36]",
    "finetune.optimisation.epochs=1", "finetune.optimisation.batch_size=4",
    "retrieval.ks=[1,2]", "track.min_length=4",
    "region_retrieval.num_frames=4", "region_retrieval.frame_stride=1", "region_retrieval.size=32",
)  # fmt: skip


@pytest.fixture
def ucf101(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    """Four videos of each of two classes, half of them to test; real files, official lists."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(CLASSES):
        for i in range(4):
            still = rng.integers(0, 90, (1, 48, 64, 3), np.uint8).repeat(10, axis=0)
            still[..., 2 * number] += 160
            frames = still.copy()
            for t in range(10):  # an object for the region tasks
                frames[t, 12:32, 6 + 3 * t : 26 + 3 * t] = 40 * i + 60
            video_id = f"{name}/v_{name}_g{i:02d}_c01.mp4"
            make_video(root / "UCF-101" / video_id, frames)
            split = "test" if i < 2 else "train"
            lines[split].append(f"{video_id} {number + 1}" if split == "train" else video_id)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    lists.joinpath("classInd.txt").write_text("1 Red\n2 Blue\n")
    for split, rows in lines.items():
        lists.joinpath(f"{split}list01.txt").write_text("\n".join(rows))
    return root


def test_one_command_runs_every_protocol(ucf101: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    request = Request("evaluate", [f"ucf101.path={ucf101}", *TINY])
    plan = open_plan(request, store, open_graph(request, store))
    result = run_plan(plan, store, Options(workers=2, device="cpu"))
    result.check(0.0)
    metrics = [
        Metrics.open(store.folder(key))
        for key, manifest in result.manifests.items()
        if manifest.noun == Metrics.name
    ]
    rows = [row for one in metrics for row in one.rows]
    assert {row.protocol.partition(" ")[0] for row in rows} == {
        "retrieval", "kNN", "linear", "fine-tune", "feature", "same-object",
    }  # fmt: skip
    assert {row.encoder for row in rows} == {"random", "chance"}
    asked = {row.n for row in rows if row.protocol == "same-object retrieval"}
    assert {row.n for row in rows if row.protocol != "same-object retrieval"} == {4}
    assert 0 < min(asked) <= max(asked) <= 4, "an object may leave no room for others of its size"
    for one in metrics:
        for row, again in recompute(one):
            assert again == row.value or row.unit == "number"
    probe = next(row for row in rows if (row.protocol, row.split) == ("linear probe", "test"))
    assert probe.value == 1.0, "red and blue are told apart by random weights"
    by_key = result.manifests
    knn = next(manifest for manifest in by_key.values() if manifest.step == "knn")
    assert origin_of(store.view(knn), by_key).dataset == "ucf101"
    check_pictures(store, tmp_path)
    again = open_plan(request, store, open_graph(request, store))
    assert {entry.action for entry in again.entries} == {"cached"}
    recognised = open_graph(
        Request("evaluate", [*request.settings, "recognise.average=softmax"]), store
    )
    plan = open_plan(request, store, recognised)
    assert {e.node.step for e in plan.entries if e.action == "run"} == {"recognise", "report"}


@pytest.mark.parametrize("name", sorted(set(miniatures.WRITERS) - {"ucf101"}))
def test_every_data_set_runs_every_protocol(name: str, tmp_path: Path) -> None:
    """Its official layout, put in the place of UCF101."""
    root = tmp_path / "data"
    root.mkdir()
    miniatures.WRITERS[name](root)
    paths = miniatures.SETTINGS.get(name, [f"{name}.path=."])
    places = [setting.replace("=", f"={root}/") for setting in paths]
    store = Store(tmp_path / "store")
    settings = [f"source={name}", *places, *TINY]
    if name.startswith("something"):  # left and right: fine-tuning refuses to mirror them
        settings.append("finetune.clips.flip_probability=0")
    request = Request("evaluate", settings)
    result = run_plan(
        open_plan(request, store, open_graph(request, store)),
        store,
        Options(workers=2, device="cpu"),
    )
    result.check(0.0)
    found = {
        row.protocol.partition(" ")[0]
        for key, manifest in result.manifests.items()
        if manifest.noun == Metrics.name
        for row in Metrics.open(store.folder(key)).rows
    }
    assert found >= {"retrieval", "kNN", "linear", "fine-tune", "feature"}


def check_pictures(store: Store, folder: Path) -> None:
    """Sheets and films of single videos, from what the store has."""
    stages = {stage.name: stage for stage in find_stages()}
    video, query = "Red/v_Red_g00_c01.mp4", "Blue/v_Blue_g01_c01.mp4"
    for name, one, count in (
        ("encoder_maps", video, 4), ("class_maps", video, 4), ("retrieval", query, 10),
    ):  # fmt: skip
        manifest = show.find_artifact(store, name, video_id=one)
        assert (store.folder(manifest.key) / PREVIEW_NAME).exists()
        show.write_sheet(store, manifest, stages, folder / f"{name}.jpg", video_id=one)
        assert decode_jpeg((folder / f"{name}.jpg").read_bytes()).shape[0] > 200
        show.write_video(store, manifest, stages, folder / f"{name}.mp4", video_id=one)
        with av.open(str(folder / f"{name}.mp4")) as container:
            assert len(list(container.decode(video=0))) == count
        with pytest.raises(ParameterError, match=f"of {manifest.key}; did you mean '{one}'"):
            show.write_video(store, manifest, stages, folder / "no.mp4", video_id=one[:-5])
        old = replace(manifest, stage_version=0)
        with pytest.raises(ParameterError, match=rf"{name} of version 0.*this tubelet has"):
            show.write_sheet(store, old, stages, folder / "no.jpg", video_id=one)
    train = show.find_artifact(store, "retrieval", video_id="Red/v_Red_g02_c01.mp4")
    told = r"is of the train split, and the pictures of retrieval-.* are of \d+ test videos only"
    with pytest.raises(ParameterError, match=told):
        show.write_video(store, train, stages, folder / "no.mp4", video_id="Red/v_Red_g02_c01.mp4")
    knn = show.find_artifact(store, "knn", video_id=video)
    with pytest.raises(ParameterError, match="is not of a video; frames, shards"):
        show.write_video(store, knn, stages, folder / "no.mp4", video_id=video)
    assert not list(folder.glob("no.*"))
