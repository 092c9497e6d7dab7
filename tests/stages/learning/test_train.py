"""The trainer in real processes: exact resume after kill -9, logs, NaN, bare imports."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.stage import Context
from stages.learning.data import Examples, Schedule
from stages.learning.method import Method
from stages.learning.train import ran_out_of_memory
from stages.learning.train_spec import TrainSpec
from stages.learning.trainer import CHECKPOINT, DIVERGED, Trainer
from stages.synthesize.synthesize import Synthesize
from storage_schemas.errors import ParameterError
from storage_schemas.shards import Shard


@pytest.fixture
def spec(tmp_path: Path, make_frames: Any) -> TrainSpec:
    shards, bank = tmp_path / "shards", tmp_path / "bank"
    shards.mkdir()
    bank.mkdir()
    items = {
        f"{i}.mp4": make_frames(f"{i}.mp4", kind=Shard, seed=i, size=(64, 72)).to_tables()
        for i in range(6)
    }
    Shard.write_part(shards, items)
    context = Context(work=tmp_path)
    Synthesize(num_frames=8, size=64, num_trajectories=8).run(ctx=context).write(bank)
    return TrainSpec(
        method={
            "name": "ctp",
            "num_frames": 8,
            "size": 64,
            "hidden": 8,
            "strides": [1],
            "initial_std": 0.05,
        },
        encoder={"width": 4},
        optimisation={"epochs": 12, "batch_size": 2, "milestones": [6]},
        seed=0,
        shards=[str(shards)],
        annotations={"trajectories": [str(bank)]},
        folder=str(tmp_path / "work"),
        device="cpu",
        checkpoint_seconds=0.0,
    )


def launch(
    spec: TrainSpec, folder: Path, before: Callable[[], None] | None = None, **changes: Any
) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    path = folder / "spec.json"
    TrainSpec(**{**vars(spec), **changes, "folder": str(folder)}).write(path)
    environment = os.environ | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.learning.train", str(path)],
        env=environment,
        preexec_fn=before,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.kill
def test_resume_after_kill_9_is_bit_exact(spec: TrainSpec, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert launch(spec, whole).wait(timeout=120) == 0
    for wanted in (5, 14):
        process = launch(spec, killed)
        while len(lines_safe(killed)) < wanted and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed / "encoder.pt").exists()
    # Another number of loader workers must not change the samples either.
    assert launch(spec, killed, loader_workers=1).wait(timeout=120) == 0
    a, b = (torch.load(f / "encoder.pt", weights_only=True) for f in (whole, killed))
    assert all(torch.equal(a[key], b[key]) for key in a)
    keep = ("step", "epoch", "loss", "iou", "learning_rate")
    assert [[row[k] for k in keep] for row in lines(killed)] == [
        [row[k] for k in keep] for row in lines(whole)
    ]
    assert [row["step"] for row in lines(whole)] == list(range(1, 37))
    assert {row["learning_rate"] for row in lines(whole)} == {0.01, 0.001}
    assert list((killed / "tensorboard").glob("events*"))


def lines_safe(folder: Path) -> list[str]:
    path = folder / "log.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def error_of(folder: Path) -> str:
    content = json.loads((folder / "error.json").read_text())
    assert content["error"] == "StageFailed"
    return str(content["message"])


def test_nan_stops_with_a_message_and_the_weights_that_gave_it(
    spec: TrainSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "nan"
    optimisation = {**spec.optimisation, "learning_rate": 1e30, "gradient_clip": 1e30}
    assert launch(spec, folder, optimisation=optimisation).wait(timeout=60) == 1
    message = error_of(folder)
    assert "lower optimisation.learning_rate (1e+30)" in message
    assert str(folder / DIVERGED) in message
    bad, good = (torch.load(folder / name, weights_only=True) for name in (DIVERGED, CHECKPOINT))
    assert f"at step {bad['step'] + 1};" in message
    assert bad["step"] == good["step"] == len(lines(folder))


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def test_memory_that_runs_out_names_the_batch_and_the_remedy(
    spec: TrainSpec, tmp_path: Path
) -> None:
    method = {"name": "moco", "num_frames": 64, "size": 256, "contrast": {"queue_size": 8}}
    optimisation = {"epochs": 1, "batch_size": 6}
    process = launch(spec, tmp_path / "oom", limit_memory, method=method, optimisation=optimisation)
    assert process.wait(timeout=60) == 1
    message = error_of(tmp_path / "oom")
    assert "memory ran out with optimisation.batch_size 6 in 1 piece(s)" in message
    assert "raise optimisation.accumulate" in message


def test_an_error_in_the_loader_is_told_in_its_own_words(spec: TrainSpec, tmp_path: Path) -> None:
    folder = tmp_path / "mismatch"
    method = {**spec.method, "num_frames": 16}
    assert launch(spec, folder, method=method, loader_workers=1).wait(timeout=60) == 1
    content = json.loads((folder / "error.json").read_text())
    assert content["error"] == "ParameterError"
    assert content["message"].startswith("pretrain.method has 16 frames of 64 pixels")
    assert "[video '" in content["message"]
    assert "Traceback" not in content["message"]


def test_what_counts_as_lack_of_memory() -> None:
    assert ran_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert ran_out_of_memory(MemoryError())
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_two_processes_train_as_one_in_two_pieces(spec: TrainSpec, tmp_path: Path) -> None:
    """The real command, under gloo: each process sees the half that is a piece of the one."""
    method = {**spec.method, "colour": False}  # colours are drawn for the batch at hand
    optimisation = {"epochs": 3, "batch_size": 4, "schedule": "cosine", "accumulate": 2}
    labels = {f"{i}.mp4": "ab"[i % 2] for i in range(6)}
    one, two = tmp_path / "one", tmp_path / "two"
    changes = {"method": method, "labels": labels, "knn": {"every": 1, "neighbours": 1}}
    one.mkdir()
    two.mkdir()
    with torch.random.fork_rng():
        Trainer(replace(spec, **changes, folder=str(one), optimisation=optimisation)).run()
    path = two / "spec.json"
    replace(spec, **changes, folder=str(two), optimisation={**optimisation, "accumulate": 1}).write(
        path
    )
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "stages.learning.train", str(path),
        ],
        check=True,
    )  # fmt: skip
    a, b = (torch.load(f / "encoder.pt", weights_only=True) for f in (one, two))
    for name, value in a.items():
        if "running" not in name and "num_batches" not in name:  # a process sees half of them
            torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-5, msg=name)
    for x, y in zip(lines(one), lines(two), strict=True):
        for name in ("loss", "iou", "centre", "gradient_norm"):
            assert x[name] == pytest.approx(y[name], rel=1e-3), name
        assert {"knn_accuracy"} <= x.keys() & y.keys()


def test_the_online_accuracy_leaves_no_trace(spec: TrainSpec, tmp_path: Path) -> None:
    """Weights, batch statistics, momentum and generators are bit-identical with it and without."""
    optimisation = {**spec.optimisation, "epochs": 2}
    found, states = [], []
    for name, every in (("with", 1), ("without", 0)):
        folder = tmp_path / name
        folder.mkdir()
        with torch.random.fork_rng():
            Trainer(
                replace(
                    spec,
                    optimisation=optimisation,
                    folder=str(folder),
                    labels={f"{i}.mp4": "ab"[i % 2] for i in range(6)},
                    knn={"every": every, "neighbours": 1},
                )
            ).run()
            states.append(
                [torch.load(folder / CHECKPOINT, weights_only=True), torch.get_rng_state()]
            )
        found.append(["knn_accuracy" in row for row in lines(folder)])
    assert found == [[False, False, True] * 2, [False] * 6]
    flat = [torch.utils._pytree.tree_leaves(state) for state in states]
    assert len(flat[0]) == len(flat[1]) > 100
    for a, b in zip(*flat, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_the_worker_needs_neither_prefect_nor_pyav() -> None:
    code = (
        "import sys, stages.learning.train; "
        "print([m for m in ('prefect', 'av') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_schedule_covers_every_video_once_an_epoch() -> None:
    schedule = Schedule(videos=10, batch_size=5, epochs=3, seed=1)
    batches = list(schedule)
    assert len(batches) == len(schedule) == 6
    for epoch in range(3):
        seen = sorted(i for batch in batches[2 * epoch : 2 * epoch + 2] for _, i in batch)
        assert seen == list(range(10))
    resumed = Schedule(videos=10, batch_size=5, epochs=3, seed=1, first_step=3)
    assert list(resumed) == batches[3:]


def test_ranks_share_the_batches_of_one() -> None:
    whole = list(Schedule(videos=8, batch_size=4, epochs=2, seed=0))
    ranks = [
        list(Schedule(videos=8, batch_size=4, epochs=2, seed=0, rank=r, world_size=2))
        for r in (0, 1)
    ]
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole


def test_batch_larger_than_the_data_names_both() -> None:
    with pytest.raises(ParameterError, match=r"batch_size is 9.*number of videos \(8\)"):
        Schedule(videos=8, batch_size=9, epochs=1, seed=0)


def test_examples_depend_on_seed_epoch_and_index_alone(spec: TrainSpec) -> None:
    def make(seed: int) -> Examples:
        annotations = {k: [Path(f) for f in v] for k, v in spec.annotations.items()}
        method = Method.choose(spec.method)
        return Examples(method, [Path(f) for f in spec.shards], annotations, seed=seed)

    one, two = make(0), make(0)
    one.views((5, 1))  # what was read before must not matter
    first, second = one.views((0, 3))["clip"], two.views((0, 3))["clip"]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, two.views((1, 3))["clip"])
    assert not np.array_equal(first, make(1).views((0, 3))["clip"])


def test_the_encoder_has_the_form_that_the_method_asks_for(spec: TrainSpec) -> None:
    assert Trainer(spec).objective.encoder.spatial_stride == 8
    with pytest.raises(ParameterError, match=r"encoder.name is 'c3d'.*last_spatial_stride=1"):
        Trainer(replace(spec, encoder={"name": "c3d", "width": 4}))
