"""What holds a training back: sentences by worked numbers, and a real, slowed-down training."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.learning.data import Examples
from stages.learning.optimisation import Optimisation
from stages.learning.throughput import Bench, Throughput, alternatives, verdict
from stages.learning.train_spec import TrainSpec
from storage_schemas.shards import Shard

LOADING = Throughput(workers=2, loader=50, step=200, both=45, waiting=0.75, batch_size=16)
COMPUTE = Throughput(workers=2, loader=900, step=200, both=195, waiting=0.02, batch_size=16)


def test_bound_by_loading_asks_for_the_workers_that_keep_up() -> None:
    assert LOADING.bound_by_loading
    assert LOADING.workers_needed == 8  # one worker gives 25 clips/s
    said = verdict(LOADING, {}, cores=16, smaller_frames="shard.short_side=128")
    assert said == [
        "Bound by loading: the step waits for its batch 75% of the time. It could take 200 "
        "clips/s; the loader gives 50 with 2 workers.",
        "More workers: --loader-workers 8.",
        "Frames are stored larger than they are used: --set shard.short_side=128.",
    ]


def test_workers_are_not_more_than_cores() -> None:
    said = verdict(LOADING, {}, cores=4)
    assert said[1:] == [
        "More workers: --loader-workers 4.",
        "8 workers would be needed, but a device has 4 cores: the views must become cheaper.",
    ]


def test_workers_that_were_tried_and_do_not_help_are_not_advised() -> None:
    better = replace(LOADING, workers=4, both=46)
    assert verdict(LOADING, {}, cores=4, better=better)[1] == (
        "More workers do not help: 46 clips/s with 4, 45 with 2."
    )
    better = replace(LOADING, workers=4, both=80)
    assert verdict(LOADING, {}, cores=4, better=better)[1] == "More workers: --loader-workers 4."


def test_bound_by_compute_names_what_was_faster() -> None:
    tried = {"pretrain.optimisation.channels_last=true": 340.0, "x=1": 205.0}
    said = verdict(COMPUTE, tried, cores=4)
    assert said == [
        "Bound by compute: the step waits for its batch 2% of the time only, and takes 80 ms for "
        "16 clips.",
        "1.70 times as fast: --set pretrain.optimisation.channels_last=true.",
    ]
    assert "None of the settings that were tried is faster" in verdict(COMPUTE, {}, cores=4)[1]


@pytest.fixture
def spec(tmp_path: Path, make_frames: Any) -> TrainSpec:
    shards = tmp_path / "shards"
    shards.mkdir()
    videos = [make_frames(f"{i}", kind=Shard, seed=i, size=(40, 48)) for i in range(3)]
    Shard.write_part(shards, {video.video_id: video.to_tables() for video in videos})
    return TrainSpec(
        method={
            "name": "moco", "num_frames": 4, "size": 32, "frame_stride": 1,
            "contrast": {"queue_size": 8, "hidden": 8},
        },
        encoder={"width": 4},
        optimisation=Optimisation(batch_size=2).model_dump(mode="json"),
        seed=0,
        shards=[str(shards)],
        annotations={},
        folder=str(tmp_path / "empty"),
        device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 1])
def test_a_real_training_is_measured(spec: TrainSpec, workers: int, tmp_path: Path) -> None:
    found = Bench(replace(spec, loader_workers=workers), seconds=0.1).measure()
    assert found.workers == workers
    assert 0 <= found.waiting < 1
    assert min(found.loader, found.step, found.both) > 0
    assert not (tmp_path / "empty").exists()


def test_slow_views_are_found_out(spec: TrainSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Examples.views

    def slow(self: Examples, place: tuple[int, int]) -> dict[str, Any]:
        time.sleep(0.2)
        return views(self, place)

    monkeypatch.setattr(Examples, "views", slow)
    found = Bench(spec, seconds=0.5).measure()
    assert found.bound_by_loading
    assert found.loader <= 5
    assert found.both < min(found.loader, found.step)


def test_alternatives_turn_what_is_set(spec: TrainSpec) -> None:
    assert alternatives(spec)["channels_last"] is True
    rate = Bench(spec, seconds=0.1).step_rate(channels_last=True)
    assert rate > 0
