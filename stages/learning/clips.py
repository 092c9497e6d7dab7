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

    Of ``T * stride`` consecutive frames every stride-th is taken, the first among them.

    References
    ----------
    rspnet.md and fame.md, section 2.
    """
    start = int(rng.integers(0, max(0, length - num_frames * stride) + 1))
    return (start + stride * np.arange(num_frames)) % length


def sample_pair(
    rng: np.random.Generator, *, length: int, num_frames: int, stride: int
) -> NDArray[np.int64]:
    """Frame indices (2, T) of two clips of a video, near ones likelier than far ones.

    Parameters
    ----------
    rng : numpy Generator
    length : int
        Frames of the video, L.
    num_frames, stride : int
        Of both clips; T and s.

    Returns
    -------
    ndarray of shape (2, T), int64
        The clips in random order. A video shorter than a clip is looped, and its clips
        start anywhere.

    References
    ----------
    CVRL (Qian et al., CVPR 2021): of the K = L - (T-1)s starts, the density of the gap
    between both falls linearly to 0 at K. constcl.md section 2.1.
    """
    starts = length - (num_frames - 1) * stride
    if starts > 0:
        gap = gap_between(rng.random(), starts)
        first = int(rng.integers(starts - gap))
        pair = rng.permutation([first, first + gap])
    else:
        pair = rng.integers(length, size=2)
    return np.asarray((pair[:, None] + stride * np.arange(num_frames)) % length, np.int64)


def gap_between(u: float, starts: int) -> int:
    """The gap below which a share `u` of all pairs lies, rounded down, in 0..starts-1."""
    # The surplus keeps a gap that is whole in exact arithmetic from ending just below.
    return int(starts * (1 - np.sqrt(1 - u)) + 1e-9)
