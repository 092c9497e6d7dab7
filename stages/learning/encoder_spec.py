"""What an encoder is built from; free of torch, so that planning can read it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EncoderSpec(BaseModel):
    """Parameters of an encoder.

    ``width`` is the number of channels of the first residual stage; 64 is the published
    size, smaller ones are for small machines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["r3d18"] = "r3d18"
    width: int = Field(64, ge=4, le=256)


class Optimisation(BaseModel):
    """SGD and its schedule, as CtP trains (ctp.md section 5).

    ``milestones`` are epochs after which the learning rate is multiplied by ``decay``;
    ``batch_size`` is the global one, divided over the devices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(300, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    milestones: tuple[int, ...] = (100, 200)
    decay: float = Field(0.1, gt=0, le=1)
    gradient_clip: float = Field(40.0, gt=0)
    mixed_precision: bool = True

    def rate_at(self, epoch: int) -> float:
        """Learning rate in an epoch (0-based)."""
        passed = sum(epoch >= milestone for milestone in self.milestones)
        return float(self.learning_rate * self.decay**passed)
