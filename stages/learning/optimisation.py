"""How an objective is minimised; free of torch, so that planning can read it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from pipeline.parameters import OWN, Parameters, constant


class Optimisation(Parameters):
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

    epochs: int = constant(300, "CtP code: pretraining_runtime_ucf.py", ge=1)
    batch_size: int = constant(32, "CtP code: 4 clips on 8 devices", ge=1)
    accumulate: int = constant(1, OWN, ge=1)
    learning_rate: float = constant(0.01, "CtP code: pretraining_runtime_ucf.py", gt=0)
    rate_per: int | None = constant(None, "CtP code: no scaling", ge=1)
    momentum: float = constant(0.9, "CtP code: pretraining_runtime_ucf.py", ge=0, lt=1)
    weight_decay: float = constant(1e-4, "CtP code: pretraining_runtime_ucf.py", ge=0)
    decay_kernels_only: bool = constant(False, "CtP code: all weights decay")
    schedule: Literal["step", "cosine"] = constant("step", "CtP code: pretraining_runtime_ucf.py")
    milestones: tuple[int, ...] = constant((100, 200), "CtP code: pretraining_runtime_ucf.py")
    decay: float = constant(0.1, "CtP code: pretraining_runtime_ucf.py", gt=0, le=1)
    floor: float = constant(0.0, OWN, ge=0, le=1)
    by_step: bool = constant(False, OWN)
    warmup_steps: int = constant(0, "CtP code: none", ge=0)
    warmup_from: float = constant(0.0, OWN, ge=0, le=1)
    gradient_clip: float | None = constant(40.0, "CtP code: pretraining_runtime_ucf.py", gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = constant("bfloat16", OWN)
    channels_last: bool = constant(False, OWN)
    compile: bool = constant(False, OWN)

    def idle(self) -> frozenset[str]:
        """What the other schedule needs, and details of a warm-up that there is not."""
        other = {"floor", "by_step"} if self.schedule == "step" else {"milestones", "decay"}
        return frozenset(other if self.warmup_steps else {*other, "warmup_from"})

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """The rate that the schedule starts from."""
        yield "peak_rate", self.peak_rate, "learning_rate * batch_size / rate_per"

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
