"""What proposal stages repeat: strided frames in, boxes out, and the picture of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.marks import Mark
from pipeline.stage import VideoStage
from stages.propose.regions import RegionBoxes, keep_largest, segment_boxes
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames
from storage_schemas.jpeg import decode_jpeg


class ProposalStage(VideoStage, kind=True):
    """A stage that proposes boxes in every ``frame_stride``-th stored frame.

    Define ``propose(self, frames, chosen)``.
    """

    frame_stride: int = Field(8, ge=1)

    def propose(self, frames: Frames, chosen: Sequence[int]) -> Iterator[RegionBoxes]:
        """Region numbers (N,) and boxes (N, 4) of each chosen frame, in its pixels."""
        raise NotImplementedError

    def process(self, *, frames: Frames) -> Boxes:
        """Proposals of every ``frame_stride``-th frame."""
        chosen = np.arange(0, len(frames), self.frame_stride, dtype=np.int32)
        found = list(self.propose(frames, chosen.tolist()))
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=np.repeat(chosen, [len(regions) for regions, _ in found]),
            xyxy=np.concatenate([xyxy for _, xyxy in found]),
            region=np.concatenate([regions for regions, _ in found]),
        )


class SegmentStage(ProposalStage, kind=True):
    """A stage whose proposals are the boxes of segments.

    Define ``segment(self, frame_HWC, shrink)``; a stage that carries something from frame to
    frame defines ``segment_run`` and `run_length` as well.

    Parameters
    ----------
    short_side : int, optional
        Frames are shrunk to this short side, in pixels, before they are segmented; None
        segments stored frames. Other lengths and areas are in pixels of the stored frame.
    frame_stride : int
        Look at every n-th stored frame.
    min_side, max_side : float
        Bounds of a box's sides as fractions of the frame's.
    max_boxes : int, optional
        Keep the largest boxes of a frame only.
    """

    short_side: int | None = Field(120, ge=8)
    min_side: float = Field(0.05, ge=0, le=1)
    max_side: float = Field(0.7, ge=0, le=1)
    max_boxes: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.min_side, self.max_side, "min_side and max_side")
        return self

    def segment(self, frame_HWC: NDArray[np.uint8], shrink: float) -> Sequence[NDArray[np.integer]]:
        """Label maps (h, w) of one RGB frame (h, w, 3), uint8, `shrink` times its stored size."""
        raise NotImplementedError

    def segment_run(
        self, frames_HWC: Iterable[NDArray[np.uint8]], shrink: float
    ) -> Iterator[Sequence[NDArray[np.integer]]]:
        """Label maps of each of at most `run_length` frames that follow each other."""
        return (self.segment(frame_HWC, shrink) for frame_HWC in frames_HWC)

    @property
    def run_length(self) -> int:
        """After how many frames nothing is carried on; a frame rests on no other run's."""
        return 1

    def label_maps(self, frame_HWC: NDArray[np.uint8]) -> Sequence[NDArray[np.integer]]:
        """Label maps of one RGB frame (H, W, 3), uint8, shrunk to ``short_side``."""
        height, width = frame_HWC.shape[:2]
        shrink = self._shrink(height, width)
        return self.segment(_resized(frame_HWC, height, width, shrink), shrink)

    def frame_maps(self, frames: Frames, t: int) -> Sequence[NDArray[np.integer]]:
        """Label maps of stored frame `t`, a multiple of ``frame_stride``."""
        first = t - t % (self.frame_stride * self.run_length)
        *_, maps = self._maps(frames, range(first, t + 1, self.frame_stride))
        return maps

    def _maps(
        self, frames: Frames, chosen: Sequence[int]
    ) -> Iterator[Sequence[NDArray[np.integer]]]:
        """Label maps of each chosen frame; the first begins a run."""
        shrink = self._shrink(frames.height, frames.width)
        for first in range(0, len(chosen), self.run_length):
            run = chosen[first : first + self.run_length]
            yield from self.segment_run((self._small(frames, t, shrink) for t in run), shrink)

    def _shrink(self, height: int, width: int) -> float:
        return min(1.0, (self.short_side or height) / min(height, width))

    def _small(self, frames: Frames, t: int, shrink: float) -> NDArray[np.uint8]:
        """A stored frame, shrunk mostly by the JPEG codec."""
        by_codec = max(n for n in (1, 2, 4, 8) if n * shrink <= 1)
        image_HWC = decode_jpeg(frames.jpegs[t], shrink=by_codec)
        return _resized(image_HWC, frames.height, frames.width, shrink)

    def propose(self, frames: Frames, chosen: Sequence[int]) -> Iterator[RegionBoxes]:
        """Boxes of each frame's segments; of M label maps, region ``i * M + m`` is i of map m."""
        size = np.array([frames.width, frames.height] * 2, np.float32)
        for maps in self._maps(frames, chosen):
            found = [
                segment_boxes(labels, min_side=self.min_side, max_side=self.max_side)
                for labels in maps
            ]
            regions = [numbers * len(maps) + m for m, (numbers, _) in enumerate(found)]
            grain = size / np.array(maps[0].shape[::-1] * 2, np.float32)
            xyxy = np.concatenate([boxes for _, boxes in found]) * grain
            yield keep_largest((np.concatenate(regions), np.minimum(xyxy, size)), self.max_boxes)

    def marks(self, frame: int, output: Any, frames: Frames) -> Sequence[Mark]:
        """Borders of the segments of the first label map below the boxes."""
        regions_HW = self.frame_maps(frames, frame)[0]
        return [Mark(regions_HW=regions_HW), *super().marks(frame, output, frames)]


def _resized(
    image_HWC: NDArray[np.uint8], height: int, width: int, shrink: float
) -> NDArray[np.uint8]:
    """An image at `shrink` times a stored frame's size."""
    import cv2

    size = (round(width * shrink), round(height * shrink))
    if image_HWC.shape[1::-1] == size:
        return image_HWC
    return np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)


def check_order(low: float, high: float, names: str) -> None:
    """Refuse bounds that nothing can lie between."""
    if low > high:
        raise ValueError(f"{names} are {low} and {high}: the first must not exceed the second")
