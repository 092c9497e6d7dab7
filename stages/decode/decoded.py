"""What comes out of a file: its stored frames, and the times of all its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor

import numpy as np

from stages.decode.accounting import FrameAccount
from storage_schemas.frames import Probe

_EARLY = 0.25  # of a frame's or slot's time that a frame may be early under an fps cap


@dataclass
class DecodedVideo:
    """The stored frames of a file, the times of all its frames, and what the file is.

    ``source_times`` are those of every undamaged frame, stored or not.
    """

    codec: str
    tick_seconds: float
    account: FrameAccount
    source_size: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    rotation_degrees: int = 0
    jpegs: list[bytes] = field(default_factory=list)
    pts_seconds: list[float] = field(default_factory=list)
    source_frames: list[int] = field(default_factory=list)
    source_times: list[float] = field(default_factory=list)

    def probe(self) -> Probe:
        """Facts of the encoded file, before any fps cap."""
        steps = np.diff(self.source_times)
        # Containers round times to their ticks: up to one tick more or less a step.
        slack = 0.1 * float(np.median(steps)) + 2 * self.tick_seconds if len(steps) else 0.0
        return Probe(
            codec=self.codec,
            source_height=self.source_size[0],
            source_width=self.source_size[1],
            rotation_degrees=self.rotation_degrees,
            average_fps=round(1 / float(steps.mean()), 6) if len(steps) else 0.0,
            variable_frame_rate=bool(len(steps) and np.ptp(steps) > slack),
            frames_expected=self.account.expected,
            frames_decoded=self.account.decoded,
            status="partial" if self.account.partial else "complete",
        )


class FrameRate:
    """Which frames are kept under a cap: of each slot of ``1 / cap`` seconds the first.

    Parameters
    ----------
    cap : float or None
        Frames a second; None keeps all.
    step_seconds : float
        From a frame to the next. Times are rounded to ticks, so a frame may be early.
    """

    def __init__(self, cap: float | None, *, step_seconds: float) -> None:
        self._cap, self._slot = cap, -1
        self._early = _EARLY * min(1.0, step_seconds * (cap or 0.0))

    def keeps(self, time: float) -> bool:
        """Whether the frame shown at `time` seconds is kept; times must rise."""
        if self._cap is None:
            return True
        slot = floor(time * self._cap + self._early)
        if slot <= self._slot:
            return False
        self._slot = slot
        return True


def stored_size(height: int, width: int, *, short_side: int) -> tuple[int, int]:
    """Height and width that frames are stored with: larger ones are shrunk, none enlarged."""
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
