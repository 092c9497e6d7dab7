"""Tracking: heads that are known to be perfect, or to stand still, in real clips."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.stage import Context
from stages.evaluate import tracking
from stages.evaluate.scoring import recompute
from stages.evaluate.tracking import STILL, Tracking, load_follower
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.method import Method
from stages.learning.objective import Objective, trained_heads
from stages.synthesize.synthesize import Synthesize
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.metrics import Metrics

SPEC = EncoderSpec(width=4)
CTP = {"name": "ctp", "num_frames": 8, "size": 48, "hidden": 8, "strides": [1], "initial_std": 0.05}


def artifact(folder: Path, method: Any, *, seed: int = 0, still: bool = False) -> EncoderFiles:
    """An encoder with the heads of a method, untrained."""
    torch.manual_seed(seed)
    chosen = Method.choose(method)
    objective = Objective(chosen, build(SPEC, **chosen.encoder_options))
    if still:
        nn.init.zeros_(objective.heads["boxes"][-1].weight)  # type: ignore[index]
    folder.mkdir()
    torch.save(objective.encoder.state_dict(), folder / "encoder.pt")
    torch.save(trained_heads(objective), folder / "heads.pt")
    EncoderFiles.describe(
        folder,
        SPEC.model_dump(mode="json"),
        **chosen.standardisation._asdict(),
        method=chosen.model_dump(mode="json"),
    )
    return EncoderFiles.open(folder)


@pytest.fixture
def inputs(colours: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    bank = Synthesize(num_frames=8, size=48, num_trajectories=16).run(ctx=Context(work=tmp_path))
    return {"shards": colours["shards"], "split": colours["labels"], "trajectories": bank}


def run(stage: Tracking, encoder: EncoderFiles, inputs: dict[str, Any], work: Path) -> Metrics:
    return stage.run(encoder=encoder, **inputs, ctx=Context(work=work, device="cpu"))


def test_a_head_that_sees_no_motion_is_worth_what_standing_still_is(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    metrics = run(Tracking(), artifact(tmp_path / "e", CTP, still=True), inputs, tmp_path)
    found = {(row.encoder, row.metric): row.value for row in metrics.rows}
    for metric in ("IoU", "IoU, last frame"):
        assert found["pretrained", metric] == pytest.approx(found[STILL, metric], abs=1e-6)
    assert 0 < found[STILL, "IoU, last frame"] < found[STILL, "IoU"] < 1
    assert {(row.split, row.n) for row in metrics.rows} == {("test", 8)}
    for one in metrics.measurements:
        assert one.values_VT.shape == (8, 8)
        np.testing.assert_allclose(one.values_VT[:, 0], 1, atol=1e-6)


def test_perfect_boxes_are_worth_one(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """downstream.md 14.1."""
    objective = load_follower(artifact(tmp_path / "e", CTP))
    assert objective is not None
    real, truth = objective.method, {}

    def to_follow(sample: Any, rng: Any) -> Any:
        clip, boxes = real.to_follow(sample, rng)  # type: ignore[attr-defined]
        truth[clip.tobytes()] = boxes
        return clip, boxes

    def follow(objective: Any, clips: Any, first: Any) -> Any:
        return torch.from_numpy(np.stack([truth[clip.numpy().tobytes()] for clip in clips]))

    known = SimpleNamespace(num_frames=8, size=48, to_follow=to_follow, follow=follow)
    objective.method = known  # type: ignore[assignment]
    monkeypatch.setattr(tracking, "load_follower", lambda encoder: objective)
    perfect, _, still, _ = run(Tracking(), EncoderFiles.open(tmp_path / "e"), inputs, tmp_path).rows
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 1, 1))
    assert still.value < 1


def test_numbers_are_written_and_computed_again(inputs: dict[str, Any], tmp_path: Path) -> None:
    files = artifact(tmp_path / "e", CTP)
    metrics = run(Tracking(num_clips=1), files, inputs, tmp_path)
    again = run(Tracking(num_clips=1), files, inputs, tmp_path)
    assert metrics.rows == again.rows, "from fixed seeds"
    assert metrics.rows != run(Tracking(num_clips=1, seed=1), files, inputs, tmp_path).rows
    (tmp_path / "out").mkdir()
    metrics.write(tmp_path / "out")
    read = Metrics.open(tmp_path / "out")
    assert [value for _, value in recompute(read)] == [row.value for row in metrics.rows]
    assert [one.video_ids for one in read.measurements] == [[f"{i:02d}.mp4" for i in range(8)]] * 2


def test_classes_are_not_needed(inputs: dict[str, Any], tmp_path: Path) -> None:
    files = artifact(tmp_path / "e", CTP)
    bare = Labels([LabelRow(row.video_id, "", row.split) for row in inputs["split"].rows])
    assert run(Tracking(), files, inputs | {"split": bare}, tmp_path).rows[0].n == 8
    everything = run(Tracking(), files, inputs | {"split": None}, tmp_path).rows[0]
    assert (everything.n, everything.split) == (16, "all")


def test_other_encoders_have_no_numbers(
    inputs: dict[str, Any], tiny_encoder: EncoderFiles, tmp_path: Path
) -> None:
    """``--set pretrain.method=simclr`` must not make a recipe fail."""
    simclr = artifact(tmp_path / "e", {"name": "simclr", "num_frames": 8, "clip": {"hidden": 8}})
    for files in (simclr, tiny_encoder):
        metrics = run(Tracking(), files, inputs, tmp_path)
        assert not metrics.rows
        assert Tracking().preview(metrics, encoder=files, **inputs) is not None


def test_trajectories_must_fit_the_clips(inputs: dict[str, Any], tmp_path: Path) -> None:
    files = artifact(tmp_path / "e", CTP | {"size": 64})
    with pytest.raises(
        ParameterError, match="8 frames of 64 pixels, the trajectories have 8 of 48"
    ):
        run(Tracking(), files, inputs, tmp_path)


def test_preview_shows_true_and_found_boxes(inputs: dict[str, Any], tmp_path: Path) -> None:
    files = artifact(tmp_path / "e", CTP)
    picture = Tracking().preview(run(Tracking(), files, inputs, tmp_path), encoder=files, **inputs)
    assert picture.shape[0] > 3 * 144
    for colour in ((4, 136, 255), (219, 8, 88)):
        assert (np.abs(picture.astype(int) - colour).max(-1) < 10).sum() > 200
