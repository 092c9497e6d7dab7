"""How an objective is minimised; free of torch, so that planning can read it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Optimisation(BaseModel):
    """SGD, its schedule, and the arithmetic.

    Parameters
    ----------
    epochs : int
    batch_size : int
        Videos of an optimiser step, over all devices.
    accumulate : int
        Pieces that a device's share of a batch is cut into, to save memory. What methods
        compare within a batch, batch normalisation too, sees one piece at a time.
    learning_rate : float
        Peak rate, for the whole batch or for every `rate_per` videos of it.
    rate_per : int or None
        With 64, the rate is multiplied by ``batch_size / 64`` (linear scaling).
    momentum, weight_decay : float
    decay_kernels_only : bool
        Leave biases and normalisation out of the weight decay.
    schedule : {"step", "cosine"}
    milestones : tuple of int
        Epochs after which "step" multiplies the rate by `decay`.
    decay : float
    floor : float
        Share of the peak rate that "cosine" ends at.
    by_step : bool
        Let "cosine" fall with every step, not every epoch.
    warmup_steps : int
        Steps over which the rate rises linearly to what the schedule then asks for.
    warmup_from : float
        Share that the rise begins at.
    gradient_clip : float or None
        Largest norm of the gradient.
    precision : {"float32", "bfloat16", "float16"}
        Of the forward pass on CUDA; a CPU always uses float32, where bfloat16 is far
        slower.
    channels_last : bool
        Memory order of activations, which is often faster.
    compile : bool
        Let ``torch.compile`` fuse encoder and heads: slow to start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(300, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    rate_per: int | None = Field(None, ge=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    decay_kernels_only: bool = False
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (100, 200)
    decay: float = Field(0.1, gt=0, le=1)
    floor: float = Field(0.0, ge=0, le=1)
    by_step: bool = False
    warmup_steps: int = Field(0, ge=0)
    warmup_from: float = Field(0.0, ge=0, le=1)
    gradient_clip: float | None = Field(40.0, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    channels_last: bool = False
    compile: bool = False

    @property
    def peak_rate(self) -> float:
        """Learning rate before the schedule, scaled to the batch."""
        return self.learning_rate * (self.batch_size / self.rate_per if self.rate_per else 1)

    def rate_at(self, step: int, *, steps_per_epoch: int) -> float:
        """Learning rate of a step, both counted from 0."""
        if step < self.warmup_steps:
            top = self._scheduled(self.warmup_steps, steps_per_epoch)
            return top * (self.warmup_from + (1 - self.warmup_from) * step / self.warmup_steps)
        return self._scheduled(step, steps_per_epoch)

    def _scheduled(self, step: int, steps_per_epoch: int) -> float:
        epoch = step // steps_per_epoch
        if self.schedule == "step":
            passed = sum(epoch >= milestone for milestone in self.milestones)
            return float(self.peak_rate * self.decay**passed)
        done = (step / steps_per_epoch if self.by_step else epoch) / self.epochs
        share = (1 + math.cos(math.pi * min(1.0, done))) / 2
        return self.peak_rate * (self.floor + (1 - self.floor) * share)
