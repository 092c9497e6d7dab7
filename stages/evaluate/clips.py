"""Which clips of a video are looked at in a test, and how they are cut.

References
----------
specs/downstream.md section 3.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ClipRule = Literal["linspace", "even", "uniform"]


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
        ConST-CL's (truncated), RSPNet's (rounded; a single clip is centred), or CtP's
        (centres of equal ticks).
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
    """Frame indices (num_clips, num_frames); a short video loops, or clamps for CtP's rule."""
    starts = clip_starts(length, num_clips=num_clips, span=num_frames * frame_stride, rule=rule)
    indices = starts[:, None] + frame_stride * np.arange(num_frames)
    return np.minimum(indices, length - 1) if rule == "uniform" else indices % length
