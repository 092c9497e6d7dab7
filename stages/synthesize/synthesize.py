"""A bank of CtP trajectories, drawn once and shared by every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.pictures import draw_boxes, grid
from pipeline.stage import Context, GatherStage
from stages.synthesize.keyframes import Interpolation
from stages.synthesize.trajectories import (
    REFERENCE_SIZE,
    Law,
    Trajectory,
    sample_trajectory,
)
from storage_schemas.trajectories import Trajectories


class Synthesize(GatherStage, name="synthesize", version=1):
    """Parameters of the trajectories (ctp.md section 3).

    A ``preset`` sets what paper and code disagree on, unless given by name. Velocities are
    in pixels a frame of a 112-pixel crop and scale with ``size``.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # The released code: 2 to 4 key frames in all, three ways of moving between them.
        "reference": {"inner_probabilities": (0.5, 0.3, 0.2), "interpolation": "random"},
        # The supplement: 3 to 5 key frames, linear.
        "paper": {"inner_probabilities": (0.0, 1 / 3, 1 / 3, 1 / 3), "interpolation": "linear"},
    }

    preset: Literal["reference", "paper"] = "reference"
    num_trajectories: int = Field(4096, ge=1)
    num_patches: int = Field(3, ge=1)
    num_frames: int = Field(16, ge=2)
    size: int = Field(112, ge=32)
    inner_probabilities: tuple[float, ...] = (0.5, 0.3, 0.2)
    interpolation: Interpolation = "random"
    location_velocity: float = Field(3.0, ge=0)
    size_velocity: float = Field(0.025, ge=0)
    visible_probability: float = Field(0.8, ge=0, le=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_probabilities(self) -> Synthesize:
        if min(self.inner_probabilities) < 0 or abs(sum(self.inner_probabilities) - 1) > 1e-6:
            raise ValueError(
                f"inner_probabilities {self.inner_probabilities} must be >= 0 and sum to 1"
            )
        return self

    def run(self, *, ctx: Context) -> Trajectories:
        """Draw the bank; entry *i* depends on (seed, i) only."""
        law = Law(
            num_patches=self.num_patches,
            num_frames=self.num_frames,
            size=self.size,
            inner_probabilities=self.inner_probabilities,
            interpolation=self.interpolation,
            location_velocity=self.location_velocity * self.size / REFERENCE_SIZE,
            size_velocity=self.size_velocity,
            visible_probability=self.visible_probability,
        )
        drawn = []
        for i in range(self.num_trajectories):
            drawn.append(sample_trajectory(np.random.default_rng([self.seed, i]), law))
            if i % 500 == 0:
                ctx.progress(i / self.num_trajectories, f"{i} of {self.num_trajectories}")
        stacked = {
            field.name: np.stack([getattr(one, field.name) for one in drawn])
            for field in fields(Trajectory)
        }
        return Trajectories(
            size=self.size,
            boxes_NKT4=stacked["boxes_KT4"],
            visible_NKT=stacked["visible_KT"],
            opacity_NKT=stacked["opacity_KT"],
            source_frame_NK=stacked["source_frame_K"],
            shape_NK=stacked["shape_K"],
            edge_NK=stacked["edge_K"],
        )

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Boxes of eight entries over time, fading in."""
        assert isinstance(output, Trajectories)
        tiles = []
        for n in range(min(8, len(output))):
            tile = np.full((self.size, self.size, 3), 235, np.uint8)
            for t in range(output.num_frames):
                boxes = output.boxes_NKT4[n, :, t].astype(np.float32)
                drawn = draw_boxes(tile, boxes, ids=list(range(self.num_patches)))
                weight = 0.15 + 0.85 * t / output.num_frames
                tile = (tile * (1 - weight) + drawn * weight).astype(np.uint8)
            tiles.append(tile)
        return grid(tiles, columns=4)
