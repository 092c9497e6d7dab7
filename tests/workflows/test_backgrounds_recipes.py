"""The backgrounds recipes, end to end on miniatures of the official layouts.

Everything runs in this process: a dozen processes that import torch would take a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import miniatures
import pytest
import torch
from torch import nn

from pipeline import child
from pipeline.run import run_plan
from pipeline.store import Store
from pipeline.supervise import Options, follow
from stages.evaluate.backgrounds.variants import VARIANTS
from stages.evaluate.scoring import recompute
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from stages.learning.trainer import Trainer
from storage_schemas.donors import Donors
from storage_schemas.metrics import MetricRow, Metrics
from workflows.session import Request, open_graph, open_plan

TINY = {
    "given_encoder.encoder.width": 4,
    "finetune.preset": "none",
    "finetune.clips.num_frames": 4,
    "finetune.clips.size": 32,
    "finetune.optimisation.epochs": 1,
    "finetune.optimisation.batch_size": 4,
}


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_child(node: Any, staging: Path, options: Any, lock: int, *rest: Any) -> str:
        reader, watch, _, _ = rest
        status = child.main(staging)
        follow(reader, watch, None)
        return f"ended with status {status}"

    monkeypatch.setattr(child, "die_with_parent", lambda parent: None)
    monkeypatch.setattr("pipeline.execute.run_child", run_child)
    monkeypatch.setattr("stages.evaluate.finetune.train", lambda spec, ctx: Trainer(spec).run())


def views(stage: str, frames: int = 4) -> dict[str, Any]:
    values = {"num_clips": 1, "num_frames": frames, "frame_stride": 1, "size": 32}
    return {f"{stage}.{name}": value for name, value in values.items()} | (
        {} if stage == "image_backgrounds" else {f"{stage}.preset": "none"}
    )


def ran(recipe: str, root: Path, settings: dict[str, Any]) -> tuple[Store, dict[str, str]]:
    """The store, and the key of each step."""
    store = Store(root / "store")
    request = Request(recipe, [f"{name}={value}" for name, value in settings.items()])
    plan = open_plan(request, store, open_graph(request, store))
    result = run_plan(plan, store, Options(workers=1, device="cpu"))
    result.check(0.0)
    return store, {manifest.step: key for key, manifest in result.manifests.items()}


def measured(store: Store, key: str) -> dict[tuple[str, str], MetricRow]:
    """Rows by protocol and metric, each the same when it is computed again."""
    metrics = Metrics.open(store.folder(key))
    for row, again in recompute(metrics):
        assert again == pytest.approx(row.value, abs=1e-12), row
    assert (store.folder(key) / "preview.jpg").exists()
    return {(row.protocol, row.metric): row for row in metrics.rows if row.encoder != "chance"}


def test_videos(tmp_path: Path) -> None:
    miniatures.jhmdb(tmp_path / "data")
    paths = {f"{name}.path": tmp_path / "data" for name in ("jhmdb", "jhmdb_masks")}
    encoder = {"given_encoder.encoder.name": "r3d18"}
    store, keys = ran("backgrounds", tmp_path, paths | encoder | TINY | views("backgrounds"))
    rows = measured(store, keys["backgrounds"])
    assert [name for name, _ in rows] == [
        *(f"backgrounds {v}" for v in VARIANTS),
        *["backgrounds"] * 2,
    ]
    gap = rows["backgrounds", "BG-gap"]
    same, rand = (rows[f"backgrounds {name}", "top-1"] for name in ("Mixed-Same", "Mixed-Rand"))
    assert gap.value == pytest.approx(same.value - rand.value)
    assert {row.n for row in rows.values()} == {4}
    donors = Donors.open(store.folder(keys["donors"]))
    assert len(donors.rows) == 3 * 4
    assert (store.folder(keys["donors"]) / "preview.jpg").exists()


def test_images_with_a_trained_head(tmp_path: Path) -> None:
    miniatures.imagenet9(tmp_path)
    settings = {
        "imagenet9.path": tmp_path / "bg_challenge",
        "imagenet9.train": tmp_path / "in9l/train",
    }
    settings |= {name: value for name, value in TINY.items() if name != "finetune.preset"}
    settings |= {"finetune.clips.num_frames": 1, **views("image_backgrounds", frames=1)}
    store, keys = ran("backgrounds_imagenet9", tmp_path, settings)
    rows = measured(store, keys["image_backgrounds"])
    assert {name.removeprefix("backgrounds ") for name, _ in rows} == {*VARIANTS, "backgrounds"}
    assert {row.n for row in rows.values()} == {4}
    assert {row.preset for row in rows.values()} == {""}


@pytest.mark.parametrize("frames", [1, 4])
def test_images_with_a_given_classifier(tmp_path: Path, frames: int) -> None:
    """All outputs but one answer to no class: two of four images are right, everywhere."""
    miniatures.imagenet9(tmp_path)
    encoder = random_encoder(EncoderSpec(name="r3d18", width=4), seed=0)
    layer = nn.Linear(encoder.out_channels, 5)
    nn.init.zeros_(layer.weight)
    layer.bias.data = torch.tensor([0.0, 1.0, 4.0, 3.0, 2.0])
    head = {f"fc.{name}": value for name, value in layer.state_dict().items()}
    torch.save({**encoder.state_dict(), **head}, tmp_path / "model.pth")
    settings = {
        "imagenet9.path": tmp_path / "bg_challenge",
        "given_classifier.weights": tmp_path / "model.pth",
        "given_classifier.encoder.name": "r3d18",
        "given_classifier.encoder.width": 4,
        **views("image_backgrounds", frames=frames),
    }
    for answer, share in ((1, 0.5), (-1, 0.0)):  # of the output with the highest bias
        mapping = tmp_path / f"{answer}.json"
        mapping.write_text(json.dumps({"0": 0, "1": 8, "2": answer, "3": 1, "4": -1}))
        store, keys = ran(
            "backgrounds_imagenet9_given",
            tmp_path,
            settings | {"given_classifier.mapping": mapping},
        )
        rows = measured(store, keys["image_backgrounds"])
        assert {row.value for (_, name), row in rows.items() if name == "top-1"} == {share}
        assert rows["backgrounds", "BG-gap"].value == 0


def test_videos_without_people(tmp_path: Path) -> None:
    miniatures.mini_kinetics200(tmp_path / "data")
    names = ("mini_kinetics200", "mini_kinetics_boxes")
    settings = {f"{name}.path": tmp_path / "data" for name in names}
    settings |= {"given_encoder.encoder.name": "r3d18", **TINY, **views("no_foreground")}
    store, keys = ran("backgrounds_mini_kinetics200", tmp_path, settings)
    rows = measured(store, keys["no_foreground"])
    assert set(rows) == {
        ("backgrounds Original", "top-1"), ("backgrounds No-FG", "top-1"), ("backgrounds", "drop"),
    }  # fmt: skip
    drop = rows["backgrounds Original", "top-1"].value - rows["backgrounds No-FG", "top-1"].value
    assert rows["backgrounds", "drop"].value == pytest.approx(drop)
    assert {row.split for row in rows.values()} == {"val"}
