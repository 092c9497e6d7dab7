"""An object through time: its masks by frame, and how sure each is."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]  # (H, W), 0 or 1

_BRIDGE = 3  # frames unseen that are filled all the same


@dataclass(frozen=True)
class Patch:
    """A mask cut to its box: ``mask`` (h, w), bool, with its corner at (`left`, `top`)."""

    left: int
    top: int
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: Mask, left: int = 0, top: int = 0) -> Patch:
        """Cut a mask whose corner lies at (`left`, `top`); it may be empty."""
        x, y, width, height = cv2.boundingRect(mask)
        return cls(left + x, top + y, mask[y : y + height, x : x + width] > 0)

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """Half-open box."""
        height, width = self.mask.shape
        return self.left, self.top, self.left + width, self.top + height

    def shifted(self, x: int, y: int) -> Patch:
        """The patch at another place."""
        return Patch(self.left + x, self.top + y, self.mask)

    @property
    def box(self) -> tuple[slice, slice]:
        """Index of the patch in its frame."""
        left, top, right, bottom = self.xyxy
        return np.s_[top:bottom, left:right]

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    def overlap(self, other: Patch) -> int:
        """Pixels that two masks share."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = (min(a, b) for a, b in zip(self.xyxy[2:], other.xyxy[2:], strict=True))
        if left >= right or top >= bottom:
            return 0
        cut = [
            one.mask[top - one.top : bottom - one.top, left - one.left : right - one.left]
            for one in (self, other)
        ]
        return int(np.count_nonzero(cut[0] & cut[1]))

    def paste(self, shape: tuple[int, int]) -> Mask:
        """The mask in its frame."""
        out = np.zeros(shape, np.uint8)
        height, width = self.mask.shape
        out[self.top : self.top + height, self.left : self.left + width] = self.mask
        return out


@dataclass(eq=False)
class Tube:
    """Masks of one object by frame.

    Parameters
    ----------
    patches : dict
        Mask by frame.
    scores : dict
        How well the frame's own region agrees with the mask carried there, IoU in 0..1; 0
        where the mask was only carried on.
    strengths : dict
        Evidence of own motion in the frames that show the object.
    """

    patches: dict[int, Patch] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    strengths: dict[int, float] = field(default_factory=dict)
    carried: Patch = field(default_factory=lambda: Patch(0, 0, np.zeros((0, 0), np.bool_)))
    guesses: dict[int, Patch] = field(default_factory=dict)
    missed: int = 0

    def see(self, t: int, patch: Patch, strength: float, score: float) -> None:
        """Take a mask that a frame shows, and the few guesses before it."""
        if len(self.guesses) <= _BRIDGE:
            for frame, guess in self.guesses.items():
                self.patches[frame], self.scores[frame] = guess, 0.0
        self.guesses, self.missed = {}, 0
        self.patches[t], self.scores[t], self.strengths[t] = patch, score, strength
        self.carried = patch

    def miss(self, t: int) -> None:
        """Remember where the object should be."""
        self.guesses[t] = self.carried
        self.missed += 1

    def between(self, start: int, stop: int) -> Tube:
        """The part of the tube in some frames."""
        inside = [t for t in sorted(self.patches) if start <= t < stop]
        seen = [t for t in inside if t in self.strengths]
        return Tube(
            {t: self.patches[t] for t in inside},
            {t: self.scores[t] for t in inside},
            {t: self.strengths[t] for t in seen},
        )

    def evidence(self, window: int) -> float:
        """Most evidence of motion in 0..1, as a mean over so many frames."""
        row = np.zeros(max(self.patches) - min(self.patches) + 1)
        for t, strength in self.strengths.items():
            row[t - min(self.patches)] = strength
        window = min(window, len(row))
        total = np.concatenate([[0.0], np.cumsum(row)])
        return float((total[window:] - total[:-window]).max() / window)
