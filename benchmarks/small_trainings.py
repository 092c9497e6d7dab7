"""Data that ``benchmarks/results.py`` measures with; settings are those of the tiny recipes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from labelled import Labelled

from pipeline.stage import Context
from stages.decode.decode import Decode
from stages.pretrain.pretrain import Pretrain
from stages.shard.shard import MakeShard
from stages.sources.motion_shapes import MotionShapes
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.videos import VideoFile
from workflows import tiny

FITTED = 16  # videos a class with a telling background that the probe learns from; others test it


class World(NamedTuple):
    """Videos to learn from, and for how long; None is a recipe's own number of epochs."""

    shapes: MotionShapes
    epochs: int | None = None

    def of(self, *, videos: int, epochs: int | None) -> World:
        """With videos of another seed, and maybe a training of another length."""
        shapes = self.shapes.model_copy(update={"seed": videos})
        return World(shapes, epochs or self.epochs)

    @property
    def told(self) -> MotionShapes | None:
        """Videos of which those for training have a background that tells the class."""
        if self.shapes.num_backgrounds == 1:
            return None
        return self.shapes.model_copy(
            update={
                "train_per_class": FITTED + 12,
                "test_per_class": 12,
                "background_bias_train": 1.0,
            }
        )

    @property
    def alone(self) -> MotionShapes | None:
        """Videos of one object, which only its pattern tells from those of others."""
        if self.shapes.num_patterns == 1:
            return None
        return self.shapes.model_copy(
            update={
                "train_per_class": 1,
                "test_per_class": 8,
                "num_objects": 1,
                "num_backgrounds": 1,
            }
        )


# How much looks tell one video from another: all, backgrounds alone, nothing.
WORLDS = {
    "shapes": World(tiny.SHAPES),
    "pattern": World(tiny.SHAPES.model_copy(update={"num_patterns": 1}), epochs=40),
    "alike": World(
        tiny.SHAPES.model_copy(update={"num_patterns": 1, "num_backgrounds": 1}), epochs=40
    ),
}


def _varied(name: str, **changes: Any) -> Pretrain:
    training = tiny.TRAININGS[name]
    return training.model_copy(update={"method": training.method.model_copy(update=changes)})


# Made only if asked for: PreViTS without its attention loss, RSPNet without its video task.
ABLATIONS = {
    "sampling": _varied("previts", attention_weight=0.0),
    "speeds": _varied(
        "rspnet",
        relative=tiny.TRAININGS["rspnet"].method.relative.model_copy(update={"video_weight": 0.0}),
    ),
}
TRAININGS = {
    **tiny.TRAININGS,
    "labelled": tiny.TRAININGS["moco"].model_copy(
        update={"method": Labelled(size=tiny.SIZE, crop_area=tiny.AREA)}
    ),
    **ABLATIONS,
}


class Data(NamedTuple):
    """Videos of one generator on disk."""

    shapes: MotionShapes
    folder: Path

    @property
    def shards(self) -> Items[Shard]:
        return Items(Shard, [self.folder / "shards"])

    def videos(self, split: str) -> list[str]:
        return [row.video_id for row in self.shapes.listing() if row.split == split]


def make(folder: Path, name: str, shapes: MotionShapes, *, tubes: bool = False) -> Data:
    """Videos, decoded and packed, with what methods read beside them; made once."""
    done = folder / name
    if not done.exists():
        work = folder / f"{name}.{os.getpid()}.tmp"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        dataset = shapes.run(ctx=Context(work=work))
        decode, pack, track = Decode(), MakeShard(), Track(min_length=4)
        shards, tracked = {}, {}
        for row in shapes.listing():
            path = dataset.videos_root / row.video_id
            video = VideoFile(row.video_id, "", path.stat().st_size, path)
            shard = pack.process(frames=decode.process(videos=video))
            shards[row.video_id] = shard.to_tables()
            if tubes:
                tracked[row.video_id] = track.process(frames=shard).to_tables()
        for part in ("shards", "tubes", "bank", "other_bank"):
            (work / part).mkdir()
        pack.write_part(work / "shards", shards)
        Boxes.write_part(work / "tubes", tracked)
        tiny.BANK.run(ctx=Context(work=work)).write(work / "bank")
        other = tiny.BANK.model_copy(update={"seed": tiny.BANK.seed + 1})
        other.run(ctx=Context(work=work)).write(work / "other_bank")
        if not done.exists():  # another process was faster
            work.rename(done)
    return Data(shapes, done)


def told_labels(told: MotionShapes, *, test: str) -> Labels:
    """Labels that fit the probe on telling backgrounds and test it on ``same`` or ``drawn``."""
    rows = []
    seen: dict[str, int] = {}
    for row in told.listing():
        count = seen[row.label] = seen.get(row.label, 0) + 1
        if row.split == "train" and count <= FITTED:
            rows.append(row)
        elif row.split == "train" and test == "same":
            rows.append(replace(row, split="test"))
        elif row.split == "test" and test == "drawn":
            rows.append(row)
    return Labels(rows)
