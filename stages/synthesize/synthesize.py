"""A bank of CtP trajectories, drawn once and shared by every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from pipeline.marks import draw_marks, patch_marks
from pipeline.parameters import OWN, cited, constant
from pipeline.pictures import grid
from pipeline.stage import Context, GatherStage
from stages.synthesize.keyframes import Interpolation
from stages.synthesize.trajectories import (
    ANCHOR_ASPECTS,
    ANCHOR_JITTER,
    ANCHOR_SIDES,
    EDGE_RANGE,
    OPACITY_PROBABILITIES,
    OPACITY_RANGE,
    REFERENCE_SIZE,
    SHAPE_PROBABILITIES,
    SOFT_EDGE_PROBABILITY,
    Law,
    sample_bank,
)
from storage_schemas.trajectories import SHAPES, Trajectories

BLOCK = 1024  # clips drawn at once, from one seed
_CODE = "CtP code: ctp_transforms.py"
_TILE, _GREY = 224, 240  # side and paper of a picture in the preview


class Synthesize(GatherStage, name="synthesize", version=2):
    """A bank of CtP trajectories (ctp.md section 3).

    Parameters
    ----------
    preset : {"reference", "paper"}
        Sets what the released code and the paper's supplement disagree on, unless given
        by name: `inner_probabilities` and `interpolation`.
    num_trajectories, num_patches, num_frames : int
        Clips in the bank, patches of a clip, frames of a clip.
    size : int
        Side of the crop in pixels. Everything in pixels (anchors, `location_velocity`)
        is given for 112 and scales with it.
    inner_probabilities : tuple of float
        Probability of 0, 1, 2, ... key frames between the first and the last.
    interpolation : {"random", "linear"}
        Between key frames; "random" mixes uniform, accelerating and decelerating.
    location_velocity : float
        Centres move at most this many pixels a frame between key frames, in x and in y.
    size_velocity : float
        Logarithms of the sides change at most this much a frame between key frames.
    visible_probability : float
        Of a patch in a frame that does not force it (``label_prob`` of the reference).
    seed : int

    Notes
    -----
    Departures from the reference code: it draws new trajectories for every sample, here
    `num_trajectories` are drawn once and samples choose among them; its constants are for
    112 pixels and 16 frames, here the crop may have any size and the clip any length; a box
    is at least one pixel wide, which matters below 112 pixels only.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # 2 to 4 key frames in all, three ways of moving between them.
        "reference": {
            "inner_probabilities": cited((0.5, 0.3, 0.2), _CODE),
            "interpolation": cited("random", "CtP code: dynamic_utils.py"),
        },
        # 3 to 5 key frames, linear.
        "paper": {
            "inner_probabilities": cited((0.0, 1 / 3, 1 / 3, 1 / 3), "CtP supplement"),
            "interpolation": cited("linear", "CtP supplement"),
        },
    }

    preset: Literal["reference", "paper"] = constant("reference", "CtP code")
    num_trajectories: int = constant(4096, OWN, ge=1)
    num_patches: int = constant(3, "CtP code; supplement figure 2", ge=1)
    num_frames: int = constant(16, "CtP code: pretraining_runtime_ucf.py", ge=2)
    size: int = constant(112, "CtP code: pretraining_runtime_ucf.py", ge=32)
    inner_probabilities: tuple[float, ...] = constant((0.5, 0.3, 0.2), _CODE)
    interpolation: Interpolation = constant("random", _CODE)
    location_velocity: float = constant(3.0, "CtP code and supplement", ge=0)
    size_velocity: float = constant(0.025, "CtP code and supplement", ge=0)
    visible_probability: float = constant(0.8, "CtP code: label_prob", ge=0, le=1)
    seed: int = constant(0, OWN, ge=0)

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """What boxes and masks are drawn from, in pixels of this crop."""
        sides = (ANCHOR_SIDES * self.size / REFERENCE_SIZE).tolist()
        yield "anchor_sides", sides, f"{_CODE}; supplement"
        yield "anchor_aspects", ANCHOR_ASPECTS.tolist(), f"{_CODE}; supplement"
        yield "anchor_jitter", ANCHOR_JITTER, _CODE
        yield "opacity", list(OPACITY_RANGE), _CODE
        yield "opacity_inner_probabilities", list(OPACITY_PROBABILITIES), _CODE
        yield "shape_probabilities", dict(zip(SHAPES, SHAPE_PROBABILITIES, strict=True)), _CODE
        yield "soft_edge_probability", SOFT_EDGE_PROBABILITY, _CODE
        yield "soft_edge", list(EDGE_RANGE), _CODE

    @model_validator(mode="after")
    def _check_probabilities(self) -> Synthesize:
        chances = self.inner_probabilities
        if not chances or min(chances) < 0 or not abs(sum(chances) - 1) <= 1e-6:
            raise ValueError(f"inner_probabilities {chances} must be >= 0 and sum to 1")
        return self

    def run(self, *, ctx: Context) -> Trajectories:
        """Draw the bank; clip *i* does not depend on how many there are.

        Blocks go to the file as they are drawn, so memory does not grow with the bank.
        """
        Trajectories.write_blocks(ctx.work, self._blocks(ctx), count=self.num_trajectories)
        return Trajectories.open(ctx.work)

    def _blocks(self, ctx: Context) -> Iterator[Trajectories]:
        law = self.law()
        for start in range(0, self.num_trajectories, BLOCK):
            # Always a whole block; the writer leaves out what is too much.
            yield sample_bank(np.random.default_rng([self.seed, start // BLOCK]), law, BLOCK)
            done = min(start + BLOCK, self.num_trajectories)
            ctx.progress(done / self.num_trajectories, f"{done} of {self.num_trajectories}")

    def law(self) -> Law:
        """Constants of the motion, scaled to the crop."""
        return Law(
            num_patches=self.num_patches,
            num_frames=self.num_frames,
            size=self.size,
            inner_probabilities=self.inner_probabilities,
            interpolation=self.interpolation,
            location_velocity=self.location_velocity * self.size / REFERENCE_SIZE,
            size_velocity=self.size_velocity,
            visible_probability=self.visible_probability,
        )

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Eight clips: the ways of the patches, their last boxes, and pale their first."""
        assert isinstance(output, Trajectories)
        paper = np.full((output.size, output.size, 3), _GREY, np.uint8)
        tiles = []
        for entry in range(min(8, len(output))):
            first, last = (
                draw_marks(paper, patch_marks(output, entry, t), scale=_TILE / output.size)
                for t in (0, output.num_frames - 1)
            )
            pale = (0.7 * _GREY + 0.3 * first).astype(np.uint8)
            tiles.append(np.where((last == _GREY).all(-1, keepdims=True), pale, last))
        return grid(tiles, columns=4)
