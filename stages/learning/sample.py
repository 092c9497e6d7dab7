"""One training example before views are made: a video's frames and its annotations."""

from __future__ import annotations

from dataclasses import dataclass

from storage_schemas.boxes import Boxes
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories


@dataclass(frozen=True)
class Sample:
    """What a method may look at; annotations it does not need are None.

    ``frames`` decodes lazily: only the frames of the clips that are drawn are read.
    ``label`` is a class index; pretraining is never given one.
    """

    frames: Shard
    trajectories: Trajectories | None = None
    tubes: Boxes | None = None
    proposals: Boxes | None = None
    detections: Boxes | None = None
    label: int | None = None
