"""Same-object retrieval: squares of colours of their own, and heads of ConST-CL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.ink import palette
from pipeline.stage import Context
from stages.evaluate.region_retrieval import DECODER, RegionRetrieval
from stages.evaluate.scoring import recompute
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.method import Method
from stages.learning.objective import Objective, trained_heads
from storage_schemas.boxes import Boxes
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.metrics import Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

STAGE = RegionRetrieval(num_frames=4, frame_stride=2, size=48, ks=(1, 3))
CONSTCL = {"name": "constcl", "num_frames": 4, "size": 48, "clip": {"hidden": 8}}


@pytest.fixture
def inputs(tmp_path: Path, make_frames: Any) -> dict[str, Any]:
    """Seven videos, five to test; a square of another colour in each, and a grey one."""
    shards, boxes = tmp_path / "shards", tmp_path / "boxes"
    shards.mkdir()
    boxes.mkdir()
    videos, tables, rows = {}, {}, []
    for i in range(7):
        video_id = f"{i}#a.mp4"
        frames = np.full((20, 60, 80, 3), 120, np.uint8)
        colour = [250 if i >> bit & 1 else 20 for bit in range(3)]
        found = []
        for t in range(20):
            frames[t, 20:36, 10 + t : 26 + t] = colour
            frames[t, 40:50, 50:60] = 60
            found += [(t, 0, 10 + t, 20, 26 + t, 36), (t, 1, 50, 40, 60, 50)]
        table = np.array(found)
        videos[video_id] = make_frames(video_id, frames=frames, kind=Shard).to_tables()
        tables[video_id] = Boxes(
            video_id=video_id,
            num_frames=20,
            height=60,
            width=80,
            frame=table[:, 0].astype(np.int32),
            xyxy=table[:, 2:].astype(np.float32),
            track=table[:, 1].astype(np.int32),
        ).to_tables()
        rows.append(LabelRow(video_id, "", "test" if i < 5 else "train"))
    Shard.write_part(shards, videos)
    Boxes.write_part(boxes, tables)
    return {
        "shards": Items(Shard, [shards]),
        "boxes": Items(Boxes, [boxes]),
        "split": Labels(rows),
    }


class Colours(nn.Module):
    """An encoder that sees colours, in cells of 4 pixels."""

    out_channels = 3

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool3d(pixels, (1, 4, 4))


def run(encoder: EncoderFiles, inputs: dict[str, Any], work: Path, stage: Any = STAGE) -> Metrics:
    metrics: Metrics = stage.run(encoder=encoder, **inputs, ctx=Context(work=work, device="cpu"))
    return metrics


def test_an_encoder_that_sees_colours_finds_every_object(
    tiny_encoder: EncoderFiles,
    inputs: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stages.learning.encoders.load_encoder", lambda files: Colours())
    metrics = run(tiny_encoder, inputs, tmp_path)
    found = {(r.preset.split(",")[0], r.metric): r for r in metrics.rows if r.encoder != "random"}
    assert {key[0] for key in found} == {"in its video", "in 5 videos"}
    for row in found.values():
        assert (row.value, row.n, row.split) == (1.0, 5, "test")
    guessed = [r.value for r in metrics.rows if r.encoder == "random" and r.metric == "R@1"]
    assert min(guessed) < 1
    answers = metrics.answers[0]
    for label, ranked, video_id in zip(
        answers.labels_V, answers.ranked_VK, answers.video_ids, strict=True
    ):
        offered = [metrics.classes[i] for i in ranked]
        assert metrics.classes[label] == offered[0] == f"{video_id}#0"
        assert sorted(offered)[:2] == [f"{video_id}#0", f"{video_id}#1"]
        assert all(name.startswith(f"{video_id}#place ") for name in sorted(offered)[2:])


def test_written_numbers_are_computed_again(
    tiny_encoder: EncoderFiles, inputs: dict[str, Any], tmp_path: Path
) -> None:
    metrics = run(tiny_encoder, inputs, tmp_path)
    assert metrics.rows == run(tiny_encoder, inputs, tmp_path).rows
    (tmp_path / "out").mkdir()
    metrics.write(tmp_path / "out")
    assert all(again == row.value for row, again in recompute(Metrics.open(tmp_path / "out")))
    picture = STAGE.preview(metrics, encoder=tiny_encoder, **inputs)
    for colour in (palette(5), palette(0)):
        assert (np.abs(picture.astype(int) - colour).max(-1) < 10).sum() > 50


@pytest.fixture
def constcl(tmp_path: Path) -> EncoderFiles:
    method = Method.choose(CONSTCL)
    torch.manual_seed(0)
    objective = Objective(method, build(EncoderSpec(width=4), **method.encoder_options))
    folder = tmp_path / "constcl"
    folder.mkdir()
    torch.save(objective.encoder.state_dict(), folder / "encoder.pt")
    torch.save(trained_heads(objective), folder / "heads.pt")
    EncoderFiles.describe(
        folder,
        EncoderSpec(width=4).model_dump(mode="json"),
        **method.standardisation._asdict(),
        method=method.model_dump(mode="json"),
    )
    return EncoderFiles.open(folder)


def test_the_decoder_asks_for_what_it_expects(
    constcl: EncoderFiles, inputs: dict[str, Any], tmp_path: Path
) -> None:
    metrics = run(constcl, inputs, tmp_path)
    presets = {(answers.encoder, DECODER in answers.preset) for answers in metrics.answers}
    assert presets == {("pretrained", False), ("pretrained", True), ("random", False)}
    plain, decoded = (
        next(a for a in metrics.answers if a.encoder == "pretrained" and (DECODER in a.preset) == d)
        for d in (False, True)
    )
    assert (plain.scores_VK != decoded.scores_VK).any()
    other = run(constcl, inputs, tmp_path, STAGE.model_copy(update={"branch": "global"}))
    assert (other.answers[0].scores_VK != plain.scores_VK).any()
    by_decoder = [a for a in other.answers if DECODER in a.preset]
    np.testing.assert_array_equal(by_decoder[0].scores_VK, decoded.scores_VK)


def test_a_larger_view_than_the_training_s_asks_at_the_same_place(
    constcl: EncoderFiles, inputs: dict[str, Any], tmp_path: Path
) -> None:
    """Boxes go to the decoder as shares of a view, not as pixels of the method's."""
    run(constcl, inputs, tmp_path, STAGE.model_copy(update={"size": 96}))


def test_where_nothing_is_to_be_found_the_other_protocols_go_on(
    tiny_encoder: EncoderFiles, inputs: dict[str, Any], tmp_path: Path
) -> None:
    metrics = run(tiny_encoder, inputs, tmp_path, STAGE.model_copy(update={"min_side": 0.9}))
    assert not metrics.rows
    assert STAGE.preview(metrics, encoder=tiny_encoder, **inputs).shape[1] >= 640
