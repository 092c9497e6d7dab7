"""How the clips of a supervised training are drawn and cut; free of torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.parameters import Parameters
from stages.evaluate.clips import cover_at
from stages.learning.clips import sample_clip, sample_window
from stages.learning.colour import ColourLaw
from stages.learning.views import CropAndFlip, ResizedCrop, resized
from storage_schemas.frames import Frames

_ASPECT = 4 / 3  # of CtP's frames, whatever the video's is


class TrainingClips(Parameters):
    """One clip of a video for each epoch.

    Parameters
    ----------
    num_frames, frame_stride : int
    sampling : {"window", "clamped", "cover"}
        A window at a uniform place, looped in a short video (RSPNet, FAME) or with its last
        frame repeated (CtP); or frames that span the video, at a uniform offset (RSPNet on
        Something-Something).
    size : int
        Side of the square that the encoder sees.
    crop : {"area", "scaled", "stretched"}
        A rectangle of a share of the `area` and with an `aspect`, resized to the square; or
        a square out of frames whose short side is one of `short_sides`, with their aspect
        kept or made 4:3.
    area, aspect : (float, float)
    log_aspect : bool
        Draw the logarithm of the aspect uniformly.
    short_sides : tuple of int
    flip_probability : float
        0 where left and right are classes.
    colour_law : ColourLaw or None
    ctp_colour : bool
        CtP's changes instead.
    """

    origin = "RSPNet code: finetune.py"

    num_frames: int = Field(16, ge=1)
    frame_stride: int = Field(1, ge=1)
    sampling: Literal["window", "clamped", "cover"] = "window"
    size: int = Field(112, ge=32)
    crop: Literal["area", "scaled", "stretched"] = "area"
    area: tuple[float, float] = (0.25, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    log_aspect: bool = True
    short_sides: tuple[int, ...] = (112, 128, 144)
    flip_probability: float = Field(0.5, ge=0, le=1)
    colour_law: ColourLaw | None = None
    ctp_colour: bool = False

    @model_validator(mode="after")
    def _check(self) -> TrainingClips:
        if self.crop != "area" and min(self.short_sides) < self.size:
            raise ValueError(
                f"short_sides {self.short_sides} must be at least size {self.size}, which is cut "
                "out of them"
            )
        return self

    def idle(self) -> frozenset[str]:
        """What the other way of cutting needs."""
        other = {"short_sides"} if self.crop == "area" else {"area", "aspect", "log_aspect"}
        return frozenset(other | ({"frame_stride"} if self.sampling == "cover" else set()))

    def cut(self, video: Frames, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A clip (T, S, S, 3)."""
        indices = self.indices(len(video), rng)
        crop = self._crop(video.height, video.width, rng)
        return crop.apply(video.decode(indices))

    def indices(self, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Frame indices (T,) in a video of `length` frames."""
        count, stride = self.num_frames, self.frame_stride
        match self.sampling:
            case "window":
                return sample_window(rng, length=length, num_frames=count, stride=stride)
            case "clamped":
                return sample_clip(
                    rng, length=length, num_frames=count, strides=(stride,), jitter=False
                )
            case "cover":
                offset = rng.uniform(0, length / count, 1)
                return cover_at(length, num_frames=count, offsets=offset)[0]

    def _crop(self, height: int, width: int, rng: np.random.Generator) -> CropAndFlip | ResizedCrop:
        if self.crop == "area":
            return ResizedCrop.sample(
                rng,
                height=height,
                width=width,
                size=self.size,
                area=self.area,
                aspect=self.aspect,
                log_aspect=self.log_aspect,
                flip_probability=self.flip_probability,
            )
        short_side = int(rng.choice(self.short_sides))
        resized_to = resized(height, width, short_side)
        if self.crop == "stretched":
            sides = (short_side, round(_ASPECT * short_side))
            resized_to = sides if width >= height else sides[::-1]
        return CropAndFlip.sample(
            rng, resized_to=resized_to, size=self.size, flip_probability=self.flip_probability
        )
