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
