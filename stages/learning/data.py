"""Training examples: a map-style data set and a sampler that can start anywhere.

All randomness of an example comes from (seed, epoch, index), so the same example is made
whatever the number of loader workers and wherever a run resumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stages.learning.method import Method
from stages.learning.sample import Sample
from stages.learning.train_spec import TrainSpec
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError, TubeletError
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories

Place = tuple[int, int]  # epoch, index of the video


class Examples(Dataset[dict[str, Tensor]]):
    """Views of videos, indexed by (epoch, index).

    Parameters
    ----------
    method : Method
    shards : sequence of Path
        Artifact folders; opened lazily in each worker process.
    annotations : mapping of role -> folders
        What the method needs besides frames. Box tables and labels keep only videos that
        have them.
    seed : int
    videos : sequence of str, optional
        Use these only, such as those of the training split.
    """

    def __init__(
        self,
        method: Method,
        shards: Sequence[Path],
        annotations: Mapping[str, Sequence[Path]],
        *,
        seed: int,
        videos: Sequence[str] | None = None,
    ) -> None:
        self.method = method
        self.seed = seed
        self.shards = Items(Shard, list(shards))
        self.boxes = {
            role: Items(Boxes, list(folders))
            for role, folders in annotations.items()
            if role not in ("trajectories", "labels")
        }
        self.trajectories = (
            Trajectories.open(annotations["trajectories"][0])
            if "trajectories" in annotations
            else None
        )
        self.labels = class_indices(annotations["labels"][0]) if "labels" in annotations else None
        needed = [*self.boxes.values(), *([self.labels] if self.labels is not None else [])]
        self.video_ids = [
            video_id
            for video_id in (self.shards if videos is None else videos)
            if video_id in self.shards and all(video_id in one for one in needed)
        ]

    @classmethod
    def of(cls, spec: TrainSpec) -> Examples:
        """The examples of a training."""
        return cls(
            Method.choose(spec.method),
            [Path(folder) for folder in spec.shards],
            {role: [Path(f) for f in folders] for role, folders in spec.annotations.items()},
            seed=spec.seed,
            videos=spec.videos,
        )

    def __len__(self) -> int:
        return len(self.video_ids)

    def views(self, place: Place) -> dict[str, Any]:
        """Arrays of one example."""
        epoch, index = place
        video_id = self.video_ids[index]
        sample = Sample(
            frames=self.shards[video_id],
            trajectories=self.trajectories,
            label=None if self.labels is None else self.labels[video_id],
            **{role: boxes[video_id] for role, boxes in self.boxes.items()},
        )
        try:
            return dict(self.method.views(sample, np.random.default_rng([self.seed, epoch, index])))
        except TubeletError as error:
            error.video_id = error.video_id or video_id
            raise

    def __getitem__(self, place: Place) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(np.asarray(value, order="C"))
            for name, value in self.views(place).items()
        }


def class_indices(folder: Path) -> dict[str, int]:
    """Class of each video of a labels artifact, numbered in the order of the names."""
    labels = Labels.open(folder)
    number = {name: i for i, name in enumerate(labels.classes)}
    return {row.video_id: number[row.label] for row in labels.rows if row.label}


class Schedule:
    """Which examples each step of a training reads: the batch sampler of all epochs.

    Parameters
    ----------
    videos, batch_size, epochs : int
        The last, incomplete batch of an epoch is left out.
    rank, world_size : int
        A rank reads its share of each batch.
    first_step : int
        Where to start; earlier steps are passed over without reading anything.
    """

    def __init__(
        self,
        *,
        videos: int,
        batch_size: int,
        epochs: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ) -> None:
        if videos < batch_size or batch_size % world_size:
            raise ParameterError(
                f"optimisation.batch_size is {batch_size}: it must be at most the number of "
                f"videos ({videos}) and a multiple of the devices ({world_size})"
            )
        self.videos, self.batch_size, self.epochs, self.seed = videos, batch_size, epochs, seed
        self.rank, self.world_size, self.first_step = rank, world_size, first_step
        self.steps_per_epoch = videos // batch_size

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch - self.first_step

    def __iter__(self) -> Iterator[list[Place]]:
        share = self.batch_size // self.world_size
        for epoch in range(self.first_step // self.steps_per_epoch, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.videos)
            for step in range(self.steps_per_epoch):
                if epoch * self.steps_per_epoch + step < self.first_step:
                    continue
                start = step * self.batch_size + self.rank * share
                yield [(epoch, int(i)) for i in order[start : start + share]]


def make_loader(
    examples: Examples, schedule: Schedule, *, workers: int, pin_memory: bool
) -> DataLoader[dict[str, Tensor]]:
    """Loader over a whole training, so that worker processes start once."""
    return DataLoader(
        examples,
        generator=torch.Generator(),  # or starting it would draw from the global one
        batch_sampler=schedule,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context="forkserver" if workers else None,
        prefetch_factor=2 if workers else None,
    )
