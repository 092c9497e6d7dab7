"""Read a window of frames as tracking sees them: small, grey and colour apart, no bars."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from storage_schemas.frames import Frames
from storage_schemas.jpeg import decode_jpeg

_DARK = 24  # the brightest pixel that a black bar has
_LOOKS_AT = 9  # frames that bars are looked for in
_NEAR = 0.9, 1.25  # short sides, as shares of the one asked for, that need no scaling
_LEAST = 16  # pixels that flow needs to stand on


@dataclass(frozen=True, repr=False)
class Footage:
    """T frames at working resolution, without black bars.

    Parameters
    ----------
    planes : tuple of ndarrays, uint8
        Grey (T, H, W), and the colour differences Cr and Cb (T, H/2, W/2).
    top, left : int
        Corner of the picture inside the bars, in working pixels.
    whole : tuple of int
        Height and width of the frame with its bars, in working pixels.
    frames : Frames
    start : int
        Frame of the video that is frame 0 here.
    """

    planes: tuple[NDArray[np.uint8], ...]
    top: int
    left: int
    whole: tuple[int, int]
    frames: Frames
    start: int

    def __repr__(self) -> str:
        return f"Footage{self.planes[0].shape}"

    def __len__(self) -> int:
        return len(self.planes[0])

    def colour(self, t: int) -> NDArray[np.uint8]:
        """Frame `t` in RGB, of the size and cut of the grey plane."""
        image = _small(
            self.frames.jpegs[self.start + t], self.whole, _shrink(self.frames, self.whole)
        )
        height, width = self.planes[0].shape[1:]
        return image[self.top : self.top + height, self.left : self.left + width]


def read(frames: Frames, start: int, stop: int, *, working_side: int) -> Footage:
    """Decode a window of frames near a short side, by the codec's own shrinking if it can."""
    whole = working_size(frames.height, frames.width, working_side)
    shrink = _shrink(frames, whole)
    stop = min(stop, len(frames))
    looked = np.linspace(start, stop - 1, min(_LOOKS_AT, stop - start)).round().astype(int)
    brightest = np.max([_small(frames.jpegs[t], whole, shrink).max(axis=2) for t in looked], axis=0)
    rows, columns = (_between_bars(brightest.max(axis=axis)) for axis in (1, 0))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    grey = np.empty((stop - start, height, width), np.uint8)
    colour = np.empty((2, stop - start, height // 2, width // 2), np.uint8)
    for i, t in enumerate(range(start, stop)):
        image = _small(frames.jpegs[t], whole, shrink)[rows, columns]
        apart = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        grey[i] = apart[..., 0]
        half = cv2.resize(apart, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        colour[0, i], colour[1, i] = half[..., 1], half[..., 2]
    planes = (grey, colour[0], colour[1])
    return Footage(planes, rows.start, columns.start, whole, frames, start)


def working_size(height: int, width: int, working_side: int) -> tuple[int, int]:
    """Height and width near the short side asked for; never larger than the frame's."""
    short = min(height, width)
    for shrink in (8, 4, 2, 1):
        if short / shrink >= _NEAR[0] * working_side:
            break
    if short / shrink <= _NEAR[1] * working_side:
        return max(_LEAST, -(-height // shrink)), max(_LEAST, -(-width // shrink))
    scale = working_side / short
    return max(_LEAST, round(height * scale)), max(_LEAST, round(width * scale))


def _shrink(frames: Frames, whole: tuple[int, int]) -> int:
    """Largest shrinking of the codec that leaves at least the working size."""
    for shrink in (8, 4, 2):
        if -(-frames.height // shrink) >= whole[0] and -(-frames.width // shrink) >= whole[1]:
            return shrink
    return 1


def _small(jpeg: bytes, whole: tuple[int, int], shrink: int) -> NDArray[np.uint8]:
    image = decode_jpeg(jpeg, shrink=shrink)
    if image.shape[:2] == whole:
        return image
    return np.asarray(cv2.resize(image, whole[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _between_bars(brightest: NDArray[np.uint8]) -> slice:
    """Lines between the black ones at both ends, of a profile (N,) of the brightest pixels."""
    bright = np.flatnonzero(brightest > _DARK)
    if len(bright) < max(_LEAST, len(brightest) // 3):
        return slice(0, len(brightest))
    return slice(int(bright[0]), int(bright[-1]) + 1)
