"""The stage end to end through the real command: what it tells, logs and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.stage import Context
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.objective import load_objective
from stages.learning.online_knn import OnlineKnn
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.ctp import CtP
from stages.pretrain.pretrain import Pretrain
from stages.synthesize.synthesize import Synthesize
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories

STAGE = Pretrain(
    method=CtP(num_frames=8, size=64, hidden=8, strides=(1,), initial_std=0.05),
    encoder=EncoderSpec(width=4),
    optimisation=Optimisation(epochs=2, batch_size=2),
    knn=OnlineKnn(every=2, neighbours=1),
)
VIDEOS = [f"{i}.mp4" for i in range(6)]


@pytest.fixture
def shards(tmp_path: Path, make_frames: Any) -> Items[Shard]:
    folder = tmp_path / "shards"
    folder.mkdir()
    frames = [make_frames(v, kind=Shard, seed=i, size=(64, 72)) for i, v in enumerate(VIDEOS)]
    Shard.write_part(folder, {video.video_id: video.to_tables() for video in frames})
    return Items(Shard, [folder])


@pytest.fixture
def bank(tmp_path: Path) -> Trajectories:
    folder = tmp_path / "bank"
    folder.mkdir()
    return Synthesize(num_frames=8, size=64, num_trajectories=4).run(ctx=Context(work=folder))


def labels_of(videos: list[str]) -> Labels:
    """Two of the six are test videos."""
    return Labels(
        [LabelRow(v, "ab"[i % 2], "train" if i < 4 else "test") for i, v in enumerate(videos)]
    )


def test_a_training_is_told_logged_and_pictured(
    shards: Items[Shard], bank: Trajectories, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    work = tmp_path / "work"
    work.mkdir()
    progress: list[tuple[float, str]] = []
    figures: dict[str, Any] = {}
    encoder = STAGE.run(
        shards=shards,
        split=Labels([LabelRow(r.video_id, "", r.split) for r in labels_of(VIDEOS).rows]),
        labels=labels_of(VIDEOS),
        trajectories=bank,
        ctx=Context(
            work=work,
            device="cpu",
            progress=lambda fraction, text: progress.append((fraction, text)),
            figures=lambda name, values: figures.update({name: values}),
        ),
    )
    rows = [json.loads(line) for line in encoder.log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]  # four training videos, two a step
    assert ["knn_accuracy" in row for row in rows] == [False, False, False, True]
    assert progress[-1][0] == 1.0
    assert "epoch 2, step 4 of 4, loss" in progress[-1][1]
    assert list(figures) == ["epoch 1", "epoch 2"]
    assert figures["epoch 2"]["loss"] == pytest.approx((rows[2]["loss"] + rows[3]["loss"]) / 2)
    assert figures["epoch 2"]["knn_accuracy"] == rows[3]["knn_accuracy"]
    wanted = {
        "loss", "centre", "size", "iou", "gradient_norm", "feature_std", "effective_rank",
        "knn_accuracy", "learning_rate", "clips_per_second",
    }  # fmt: skip
    board = EventAccumulator(str(encoder.folder / "tensorboard")).Reload()
    assert set(board.Tags()["scalars"]) == wanted
    assert {name for row in rows for name in row} == wanted | {"step", "of", "epoch"}
    assert (encoder.mean, encoder.std) == tuple(map(list, STAGE.method.standardisation))
    picture = STAGE.preview(encoder)
    assert picture is not None
    assert picture.ndim == 3
    assert not (work / "trajectories").exists()  # mapped where it lies
    target = tmp_path / "artifact"
    target.mkdir()
    encoder.write(target)
    trained = torch.load(work / "checkpoint.pt", weights_only=True)["objective"]
    again = load_objective(EncoderFiles.open(target)).state_dict()
    assert all(torch.equal(again[key], value) for key, value in trained.items())


def test_without_looks_labels_are_not_read() -> None:
    """Relabelling then trains nothing anew."""
    assert STAGE.reads() == {"shards", "split", "labels", "trajectories"}
    assert STAGE.model_copy(update={"knn": OnlineKnn(every=0)}).reads() == {
        "shards", "split", "trajectories",
    }  # fmt: skip


def test_a_bank_in_memory_is_written_for_the_workers(
    shards: Items[Shard], bank: Trajectories, tmp_path: Path
) -> None:
    in_memory = Trajectories(
        size=bank.size,
        **{
            name: getattr(bank, name).copy()
            for name in vars(bank)
            if name not in ("size", "_folder")
        },
    )
    folders = []
    for given in (bank, in_memory):
        spec = STAGE.train_spec(
            shards=shards,
            split=None,
            labels=labels_of(VIDEOS),
            trajectories=given,
            boxes={},
            ctx=Context(work=tmp_path),
        )
        folders += [Path(f) for f in spec.annotations["trajectories"]]
        assert spec.labels == {"0.mp4": "a", "1.mp4": "b", "2.mp4": "a", "3.mp4": "b"}
    assert folders == [tmp_path / "bank", tmp_path / "trajectories"]
    assert len(Trajectories.open(folders[1])) == 4
