"""Key frames and what lies between them: the clock of all synthetic motion.

Shapes: N draws, M key frames, S = M - 1 segments, T frames. All draws are made at once; a
draw with fewer key frames than M repeats the last frame, which adds segments of no length.

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
UNIFORM, ACCELERATE, DECELERATE = 0, 1, 2
_MODE_PROBABILITIES = (0.7, 0.15, 0.15)


def sample_key_frames(
    rng: np.random.Generator,
    *,
    count: int,
    num_frames: int,
    inner_probabilities: Sequence[float],
) -> NDArray[np.int64]:
    """Key frames near an even spacing, the first and last frame always among them.

    Parameters
    ----------
    rng : numpy Generator
    count : int
        Number of draws, N.
    num_frames : int
        At least 2.
    inner_probabilities : sequence of float
        Probability of 0, 1, 2, ... inner key frames.

    Returns
    -------
    ndarray of shape (N, M), int64
        Sorted; M is two more than the largest number of inner key frames.
    """
    most = len(inner_probabilities) - 1
    last = num_frames - 1
    ticks = np.full((most + 1, most), last)
    jitter = np.zeros((most + 1, most), int)
    for inner in range(1, most + 1):
        step = num_frames / (inner + 1)
        ticks[inner, :inner] = np.floor(step * np.arange(1, inner + 1))
        jitter[inner, :inner] = step // 3
    probabilities = np.asarray(inner_probabilities, float)
    inner_N = rng.choice(most + 1, size=count, p=probabilities / probabilities.sum())
    reach = jitter[inner_N]
    inner_keys = ticks[inner_N] + rng.integers(-reach, np.maximum(reach, 1))
    first_N1 = np.zeros((count, 1), int)
    return np.sort(np.concatenate([first_N1, inner_keys, first_N1 + last], axis=1), axis=1)


def sample_places(
    rng: np.random.Generator, keys_NM: NDArray[np.int64], *, interpolation: Interpolation
) -> NDArray[np.float64]:
    """Place of each frame on the axis of key frames: 1.25 is a quarter past key frame 1.

    Parameters
    ----------
    rng : numpy Generator
    keys_NM : ndarray of shape (N, M), int64
        As `sample_key_frames` gives them.
    interpolation : {"random", "linear"}
        "random" makes each segment uniform, accelerating or decelerating (.7/.15/.15).

    Returns
    -------
    ndarray of shape (N, T), float64
    """
    frames_T = np.arange(keys_NM[0, -1] + 1)
    gap_NS = np.diff(keys_NM)
    mode_NS = np.full(gap_NS.shape, UNIFORM)
    if interpolation == "random":
        mode_NS = rng.choice(3, size=gap_NS.shape, p=np.asarray(_MODE_PROBABILITIES))
    # The segment that ends at or after the frame; one of no length is never chosen, but
    # for frame 0, which stands at its start.
    segment_NT = (keys_NM[:, 1:, None] < frames_T).sum(axis=1)
    start_NT, gap_NT, mode_NT = (
        np.take_along_axis(values_NS, segment_NT, axis=1)
        for values_NS in (keys_NM[:, :-1], np.maximum(gap_NS, 1), mode_NS)
    )
    return segment_NT + ease((frames_T - start_NT) / gap_NT, mode_NT)


def ease(fraction: NDArray[np.float64], mode: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the way done after a fraction of the time, in each mode."""
    eased: NDArray[np.float64] = np.choose(mode, [fraction, fraction**2, 1 - (1 - fraction) ** 2])
    return eased


def interpolate(
    values_NM: NDArray[np.float64], places_NT: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values at key frames, shape (N, M, ...), read off at places: shape (N, T, ...)."""
    low_NT = np.minimum(places_NT.astype(int), values_NM.shape[1] - 2)
    share = (places_NT - low_NT).reshape(*places_NT.shape, *[1] * (values_NM.ndim - 2))
    row_N1 = np.arange(len(values_NM))[:, None]
    result: NDArray[np.float64] = (
        values_NM[row_N1, low_NT] * (1 - share) + values_NM[row_N1, low_NT + 1] * share
    )
    return result
