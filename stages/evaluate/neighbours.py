"""Nearest vectors by cosine similarity, in pieces that fit into memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 24  # similarities at a time


def nearest(
    queries_QD: NDArray[np.floating], gallery_GD: NDArray[np.floating], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of the gallery from near to far, and their cosines.

    Parameters
    ----------
    queries_QD, gallery_GD : ndarray
        Of any length; a vector of zeros is as near to all.
    count : int
        How many, K; at most all.

    Returns
    -------
    indices_QK : ndarray, int64
        Of equally near ones the first in the gallery comes first.
    cosines_QK : ndarray, float32
    """
    count = min(count, len(gallery_GD))
    unit_DG = unit(gallery_GD).T
    indices, cosines = [], []
    step = max(1, _PIECE // len(gallery_GD))
    for start in range(0, len(queries_QD), step):
        cosine_QG = unit(queries_QD[start : start + step]) @ unit_DG
        found = _best(cosine_QG, count)
        indices.append(found)
        cosines.append(np.take_along_axis(cosine_QG, found, axis=1))
    return np.concatenate(indices), np.concatenate(cosines)


def _best(values_QG: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the largest values, in order."""
    if count < values_QG.shape[1]:
        some = np.sort(np.argpartition(-values_QG, count - 1, axis=1)[:, :count], axis=1)
    else:
        some = np.broadcast_to(np.arange(count), values_QG.shape)
    order = np.argsort(-np.take_along_axis(values_QG, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors along the last axis, scaled to length 1; zeros stay zeros."""
    wide = np.asarray(vectors, np.float32)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.maximum(length, np.float32(1e-12))
