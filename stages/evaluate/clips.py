"""Which clips of a video are looked at in a test, and how they are cut.

References
----------
specs/downstream.md section 3; specs/rspnet.md section 5b ("cover").
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.parameters import OWN, Parameters
from stages.learning.views import CropAndFlip, resized

ClipRule = Literal["linspace", "even", "uniform", "cover"]


class Decodable(Protocol):
    """Frames that are decoded when asked for: `Frames`, or what is made of them."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def decode(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Frames (len(indices), H, W, 3), RGB."""
        ...


class EvaluationViews(Parameters):
    """The views of a video in a test: clips times crops.

    Parameters
    ----------
    num_clips, num_frames, frame_stride : int
        Clips of a video, frames of a clip, stored frames from one to the next. With the
        rule ``cover`` a clip spans the whole video and the stride is not looked at.
    clip_rule : {"linspace", "even", "uniform", "cover"}
        See `clip_starts` and `cover_indices`.
    size : int
        Side of the square that the encoder sees.
    short_side : int or None
        What frames are resized to first, keeping their aspect; None for `size`.
    long_side : int or None
        Resize to exactly ``long_side x short_side`` instead, upright for upright videos
        (CtP: 171 x 128).
    num_crops : {1, 3}
        One square in the middle, or three along the long side.
    """

    origin = OWN

    num_clips: int = Field(10, ge=1)
    num_frames: int = Field(16, ge=1)
    frame_stride: int = Field(1, ge=1)
    clip_rule: ClipRule = "even"
    size: int = Field(112, ge=32)
    short_side: int | None = Field(None, ge=32)
    long_side: int | None = Field(None, ge=32)
    num_crops: Literal[1, 3] = 1

    @model_validator(mode="after")
    def _check(self) -> EvaluationViews:
        short_side = self.short_side or self.size
        if self.size > short_side or short_side > (self.long_side or short_side):
            raise ValueError(
                f"size {self.size}, short_side {self.short_side} and long_side {self.long_side} "
                "must not fall"
            )
        return self

    def uses_device(self) -> bool:
        """Views are cut for a network."""
        return True

    @property
    def num_views(self) -> int:
        """Views of a video."""
        return self.num_clips * self.num_crops

    @property
    def nbytes(self) -> int:
        """Of the views of a video."""
        return self.num_views * self.num_frames * self.size**2 * 3

    def cut(self, video: Decodable) -> NDArray[np.uint8]:
        """Views (num_clips * num_crops, T, S, S, 3), crop by crop within a clip."""
        indices = self.indices(len(video))
        needed, place = np.unique(indices, return_inverse=True)
        frames_THWC = video.decode(needed)
        place = place.reshape(indices.shape)
        crops = [crop.apply(frames_THWC)[place] for crop in self.crops(video.height, video.width)]
        return np.stack(crops, axis=1).reshape(-1, self.num_frames, self.size, self.size, 3)

    def indices(self, length: int) -> NDArray[np.int64]:
        """Frame indices (num_clips, num_frames) in a video of `length` frames."""
        if self.clip_rule == "cover":
            return cover_indices(length, num_clips=self.num_clips, num_frames=self.num_frames)
        return clip_indices(
            length,
            num_clips=self.num_clips,
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            rule=self.clip_rule,
        )

    def crops(self, height: int, width: int) -> list[CropAndFlip]:
        """Where the squares are cut from frames of this size."""
        short_side = self.short_side or self.size
        if self.long_side is not None:
            sides = (short_side, self.long_side)
            resized_to = sides if width >= height else sides[::-1]
        else:
            resized_to = resized(height, width, short_side)
        return CropAndFlip.along(resized_to, size=self.size, count=self.num_crops)


def clip_starts(length: int, *, num_clips: int, span: int, rule: ClipRule) -> NDArray[np.int64]:
    """First frame of each test clip.

    Parameters
    ----------
    length : int
        Frames of the video.
    num_clips : int
    span : int
        Source frames that a clip covers (frames x stride).
    rule : ``linspace``, ``even`` or ``uniform``
        ConST-CL's and FAME's (truncated), RSPNet's (rounded; a single clip is centred), or
        CtP's (centres of equal ticks).
    """
    room = max(0, length - span)
    if rule == "linspace":
        return np.linspace(0, room, num_clips).astype(int)
    if rule == "even":
        starts = np.linspace(0, room, num_clips) if num_clips > 1 else np.array([room / 2])
        return np.rint(starts).astype(int)
    if length < span:
        return np.zeros(num_clips, int)
    tick = (length - span + 1) / num_clips
    return np.floor(tick / 2 + tick * np.arange(num_clips)).astype(int)


def clip_indices(
    length: int,
    *,
    num_clips: int,
    num_frames: int,
    frame_stride: int,
    rule: ClipRule,
) -> NDArray[np.int64]:
    """Frame indices (num_clips, num_frames).

    A short video loops, or repeats its last frame with CtP's rule. RSPNet's spreads the
    frames of a clip over a video that is longer than them but too short for the stride.
    """
    if rule == "even" and num_frames < length < (num_frames - 1) * frame_stride + 1:
        spread = np.rint(np.linspace(0, length - 1, num_frames)).astype(int)
        return np.tile(spread, (num_clips, 1))
    starts = clip_starts(length, num_clips=num_clips, span=num_frames * frame_stride, rule=rule)
    indices = starts[:, None] + frame_stride * np.arange(num_frames)
    return np.minimum(indices, length - 1) if rule == "uniform" else indices % length


def cover_indices(length: int, *, num_clips: int, num_frames: int) -> NDArray[np.int64]:
    """Frame indices (num_clips, num_frames) of clips that span the whole video.

    The stride ``length / num_frames`` need not be whole; clips start at even shares of it,
    a single one at its half (RSPNet on Something-Something).
    """
    stride = length / num_frames
    shares = np.arange(num_clips) / num_clips if num_clips > 1 else np.array([0.5])
    return cover_at(length, num_frames=num_frames, offsets=shares * stride)


def cover_at(length: int, *, num_frames: int, offsets: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frame indices (len(offsets), num_frames) at ``i * length / num_frames + offset``."""
    stride = length / num_frames
    # The surplus keeps a product that is whole in exact arithmetic from ending just below.
    indices = np.floor(np.arange(num_frames) * stride + offsets[:, None] + 1e-9).astype(int)
    return np.minimum(indices, length - 1)
