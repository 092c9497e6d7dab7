"""Key frames and what lies between them: the clock of all synthetic motion.

References
----------
specs/ctp.md sections 3.1 and 3.2, after the reference code of CtP (CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["random", "linear"]
_MODES = ("uniform", "accelerate", "decelerate")
_MODE_PROBABILITIES = (0.7, 0.15, 0.15)


def sample_key_frames(
    rng: np.random.Generator, *, num_frames: int, inner_probabilities: Sequence[float]
) -> NDArray[np.int64]:
    """Sorted key frames; the first and last frame are always among them.

    Parameters
    ----------
    rng : numpy Generator
    num_frames : int
    inner_probabilities : sequence of float
        Probability of 0, 1, 2, ... inner key frames.
    """
    inner = int(rng.choice(len(inner_probabilities), p=np.asarray(inner_probabilities)))
    ends = [0, num_frames - 1]
    if inner == 0:
        return np.asarray(ends)
    step = num_frames / (inner + 1)
    jitter = int(step // 3)
    ticks = np.floor(step * np.arange(1, inner + 1)).astype(int)
    if jitter:
        ticks = ticks + rng.integers(-jitter, jitter, size=inner)
    return np.unique(np.concatenate([ends, np.clip(ticks, 0, num_frames - 1)]))


def progress_between(
    rng: np.random.Generator, key_frames: NDArray[np.int64], *, interpolation: Interpolation
) -> NDArray[np.float64]:
    """Position of each frame on the key-frame axis, shape (T,): 1.25 = a quarter past key 1.

    Each segment is uniform, accelerating or decelerating (.7/.15/.15) for "random".
    """
    positions = [np.zeros(1)]
    for i, gap in enumerate(np.diff(key_frames)):
        mode = "uniform"
        if interpolation == "random":
            mode = _MODES[int(rng.choice(3, p=np.asarray(_MODE_PROBABILITIES)))]
        positions.append(i + ease(np.arange(1, gap + 1) / gap, mode))
    return np.concatenate(positions)


def ease(fraction: NDArray[np.float64], mode: str) -> NDArray[np.float64]:
    """Share of the way done after a fraction of the time."""
    if mode == "accelerate":
        return fraction**2
    if mode == "decelerate":
        return 1 - (1 - fraction) ** 2
    return fraction


def interpolate(
    values_M: NDArray[np.float64], positions_T: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values at key frames, shape (M, ...), read off at positions: shape (T, ...)."""
    low = np.minimum(positions_T.astype(int), len(values_M) - 2)
    share = (positions_T - low).reshape(-1, *([1] * (values_M.ndim - 1)))
    result: NDArray[np.float64] = values_M[low] * (1 - share) + values_M[low + 1] * share
    return result
