"""Trainings of about a minute of one core in which every method learns its own task.

Data, settings and data set that ``benchmarks/results.py`` measures with.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from labelled import Labelled

from pipeline.stage import Context
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.learning.clip_contrast import ClipContrast
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.optimisation import Optimisation
from stages.learning.relative_speed import RelativeSpeed
from stages.learning.standardisation import IMAGENET
from stages.pretrain.methods.constcl import ConstCL, RegionContrast
from stages.pretrain.methods.ctp import CtP
from stages.pretrain.methods.fame import FAME
from stages.pretrain.methods.moco import MoCo
from stages.pretrain.methods.previts import PreViTS
from stages.pretrain.methods.rspnet import RSPNet
from stages.pretrain.methods.simclr import SimCLR
from stages.pretrain.pretrain import Pretrain
from stages.shard.shard import MakeShard
from stages.sources.motion_shapes import MotionShapes
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.videos import VideoFile

FRAMES, STRIDE, SIZE = 8, 2, 48
FITTED = 16  # videos a class with a telling background that the probe learns from; others test it

SHAPES = MotionShapes(
    train_per_class=32, test_per_class=16, num_frames=20, size=64, num_objects=4, seed=1
)
# In training the background tells the class, of the test videos it does not.
TOLD = SHAPES.model_copy(
    update={"train_per_class": FITTED + 12, "test_per_class": 12, "background_bias_train": 1.0}
)
ALONE = SHAPES.model_copy(update={"train_per_class": 1, "test_per_class": 8, "num_objects": 1})
BANK = Synthesize(
    num_frames=FRAMES,
    size=SIZE,
    num_trajectories=4096,
    inner_probabilities=(1.0,),
    interpolation="linear",
    visible_probability=1.0,
)
CLIPS = ExtractFeatures(num_clips=2, num_frames=FRAMES, frame_stride=STRIDE, size=SIZE)

AREA = (0.5, 1.0)  # smaller crops miss the objects
_VIEW: dict[str, Any] = {
    "num_frames": FRAMES,
    "size": SIZE,
    "crop_area": AREA,
    "colour": False,
}
_PAIR: dict[str, Any] = {
    **_VIEW,
    "frame_stride": STRIDE,
    "mean": IMAGENET.mean,
    "std": IMAGENET.std,
}
# Of 256 videos: in a longer queue a video would often meet its own key as a negative.
_QUEUE = MomentumContrast(
    dim=64, hidden=128, queue_size=96, momentum=0.99, temperature=0.1, symmetric=False
)
_SPEEDS = RelativeSpeed(dim=64, queue_size=96, momentum=0.99, temperature=0.1)
_CLIP = ClipContrast(dim=64, hidden=128, hidden_layers=1)
_COSINE = Optimisation(
    epochs=16,
    batch_size=32,
    learning_rate=0.03,
    schedule="cosine",
    by_step=True,
    warmup_steps=20,
    channels_last=True,
)


def _training(method: Any, optimisation: Optimisation = _COSINE) -> Pretrain:
    return Pretrain(method=method, encoder=EncoderSpec(width=8), optimisation=optimisation)


# What each method needs to learn its own task in about a minute of one core.
TRAININGS: Mapping[str, Pretrain] = {
    "ctp": _training(
        CtP(
            num_frames=FRAMES,
            size=SIZE,
            strides=(1, 2),
            colour=False,
            patch_gain=1.0,
            hidden=256,
            roi_bins=3,
            initial_std=0.02,
        ),
        Optimisation(
            epochs=24,
            batch_size=16,
            learning_rate=0.01,
            milestones=(18, 22),
            gradient_clip=10.0,
            channels_last=True,
        ),
    ),
    "rspnet": _training(RSPNet(**_VIEW, relative=_SPEEDS)),
    "previts": _training(PreViTS(**_VIEW, min_valid_frames=4, relative=_SPEEDS)),
    "constcl": _training(ConstCL(**_PAIR, clip=_CLIP, region=RegionContrast(weight=0.5))),
    "fame": _training(FAME(**_PAIR, contrast=_QUEUE)),
    "moco": _training(MoCo(**_PAIR, contrast=_QUEUE)),
    "simclr": _training(SimCLR(**_PAIR, clip=_CLIP)),
    "labelled": _training(Labelled(size=SIZE, crop_area=AREA)),
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


def make(folder: Path, name: str, shapes: MotionShapes) -> Data:
    """Videos, decoded and packed, with tubes for pretraining; made once."""
    done = folder / name
    if not done.exists():
        work = folder / f"{name}.{os.getpid()}.tmp"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        dataset = shapes.run(ctx=Context(work=work))
        decode, pack, track = Decode(), MakeShard(), Track(min_length=4)
        shards, tubes = {}, {}
        for row in shapes.listing():
            path = dataset.videos_root / row.video_id
            video = VideoFile(row.video_id, "", path.stat().st_size, path)
            shard = pack.process(frames=decode.process(videos=video))
            shards[row.video_id] = shard.to_tables()
            if shapes is SHAPES:
                tubes[row.video_id] = track.process(frames=shard).to_tables()
        for part in ("shards", "tubes", "bank", "other_bank"):
            (work / part).mkdir()
        pack.write_part(work / "shards", shards)
        Boxes.write_part(work / "tubes", tubes)
        BANK.run(ctx=Context(work=work)).write(work / "bank")
        other = BANK.model_copy(update={"seed": BANK.seed + 1})
        other.run(ctx=Context(work=work)).write(work / "other_bank")
        if not done.exists():  # another process was faster
            work.rename(done)
    return Data(shapes, done)


def told_labels(*, test: str) -> Labels:
    """Labels that fit the probe on telling backgrounds and test it on ``same`` or ``drawn``."""
    rows = []
    seen: dict[str, int] = {}
    for row in TOLD.listing():
        count = seen[row.label] = seen.get(row.label, 0) + 1
        if row.split == "train" and count <= FITTED:
            rows.append(row)
        elif row.split == "train" and test == "same":
            rows.append(replace(row, split="test"))
        elif row.split == "test" and test == "drawn":
            rows.append(row)
    return Labels(rows)
