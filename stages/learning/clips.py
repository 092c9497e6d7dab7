"""Which frames make a training clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def sample_clip(
    rng: np.random.Generator,
    *,
    length: int,
    num_frames: int,
    strides: Sequence[int],
    jitter: bool = True,
) -> NDArray[np.int64]:
    """Frame indices of one clip, as CtP draws them.

    Parameters
    ----------
    rng : numpy Generator
    length : int
        Frames of the video, N.
    num_frames : int
        Frames of the clip, T.
    strides : sequence of int
        One is drawn uniformly.
    jitter : bool
        Shift each index by its own U{0..stride-1}.

    Returns
    -------
    ndarray of shape (T,), int64
        Non-decreasing; clamped to the last frame, which repeats for short videos.

    References
    ----------
    ctp.md section 2: start uniform in [0, N - ((T-1)s + 1)], 0 if the span does not fit.
    """
    stride = int(rng.choice(np.asarray(strides)))
    span = (num_frames - 1) * stride + 1
    start = int(rng.integers(0, length - span + 1)) if span < length else 0
    indices = start + stride * np.arange(num_frames)
    if jitter and stride > 1:
        indices = indices + rng.integers(0, stride, size=num_frames)
    return np.minimum(indices, length - 1)


def sample_window(
    rng: np.random.Generator, *, length: int, num_frames: int, stride: int = 1
) -> NDArray[np.int64]:
    """Frame indices (T,) of a window at a uniform place; a video too short is looped.

    References
    ----------
    rspnet.md and fame.md, section 2.
    """
    span = (num_frames - 1) * stride + 1
    start = int(rng.integers(0, max(0, length - span) + 1))
    return (start + stride * np.arange(num_frames)) % length
