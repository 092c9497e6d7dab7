"""What is told of a log that grows, and of one that a resumed training cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.stage import Context
from stages.learning import launch
from stages.learning.launch import Follower, means
from stages.learning.train_spec import TrainSpec, too_large
from storage_schemas.errors import StageFailed


def line(step: int, *, epoch: int, **figures: Any) -> str:
    row = {"step": step, "of": 600, "epoch": epoch, "clips_per_second": 8.0, **figures}
    return json.dumps(row) + "\n"


@pytest.fixture
def told() -> dict[str, Any]:
    return {"progress": [], "epochs": {}}


@pytest.fixture
def follower(tmp_path: Path, told: dict[str, Any]) -> Follower:
    context = Context(
        work=tmp_path,
        progress=lambda fraction, text: told["progress"].append((fraction, text)),
        figures=lambda name, values: told["epochs"].update({name: values}),
    )
    return Follower(context, batch_size=16)


def test_progress_says_how_long_it_takes(
    follower: Follower, told: dict[str, Any], tmp_path: Path
) -> None:
    follower.read()  # nothing is there yet
    log = tmp_path / "log.jsonl"
    log.write_text(line(300, epoch=3, loss=0.25) + '{"step": 301, "of"')
    follower.read()
    text = "epoch 3, step 300 of 600, loss 0.250, 8.0 clips/s, 10.0 min left"
    assert told["progress"] == [(0.5, text)]  # 300 steps of 16 clips at 8 a second


def test_means_of_each_epoch(follower: Follower, told: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(line(1, epoch=1, loss=4.0))
    follower.read()
    with log.open("a") as file:
        file.write(line(2, epoch=1, loss=2.0, knn_accuracy=0.5) + line(3, epoch=2, loss=1.0))
    follower.read()
    first = {"clips_per_second": 8.0, "loss": 3.0, "knn_accuracy": 0.5}
    assert told["epochs"] == {"epoch 1": first}
    follower.end_epoch()
    assert told["epochs"]["epoch 2"]["loss"] == 1.0


def test_a_log_that_was_cut_off_is_read_anew(
    follower: Follower, told: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(line(1, epoch=1, loss=4.0) + line(2, epoch=2, loss=9.0))
    follower.read()
    log.write_text(line(1, epoch=1, loss=4.0))  # what the checkpoint knows
    follower.read()
    with log.open("a") as file:
        file.write(line(2, epoch=2, loss=9.0) + line(3, epoch=2, loss=5.0))
    follower.read()
    follower.end_epoch()
    assert {name: row["loss"] for name, row in told["epochs"].items()} == {
        "epoch 1": 4.0,
        "epoch 2": 7.0,
    }


def test_means_leave_out_what_is_missing() -> None:
    assert means([{"step": 1, "a": 1.0, "b": None}, {"a": 3.0}, {"c": 5.0}]) == {"a": 2.0, "c": 5.0}


def test_a_trainer_that_is_killed_may_have_had_too_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TrainSpec(
        method={"name": "moco", "size": 112}, encoder={"width": 64},
        optimisation={"batch_size": 32, "accumulate": 2}, seed=0, shards=[], annotations={},
        folder=str(tmp_path), device="cpu",
    )  # fmt: skip
    program = tmp_path / "kill.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(launch, "_MODULE", [str(program)])
    with pytest.raises(
        StageFailed, match=r"(?s)batch_size 32 in 2 piece\(s\).*Signal 9 \(SIGKILL\)"
    ):
        launch.train(spec, Context(work=tmp_path, device="cpu"))
    assert "encoder.width (64) or method.size (112)" in too_large(spec)
