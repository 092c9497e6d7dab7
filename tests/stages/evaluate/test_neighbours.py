"""Nearest neighbours, beside scikit-learn and with ties."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate import neighbours
from stages.evaluate.neighbours import nearest, unit


@pytest.mark.parametrize("piece", [1 << 24, 64])
def test_as_scikit_learn(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    from sklearn.neighbors import NearestNeighbors

    monkeypatch.setattr(neighbours, "_PIECE", piece)
    rng = np.random.default_rng(0)
    gallery, queries = rng.normal(size=(40, 8)), rng.normal(size=(25, 8))
    theirs = NearestNeighbors(metric="cosine", algorithm="brute").fit(gallery)
    distance, index = theirs.kneighbors(queries, n_neighbors=7)
    found, cosines = nearest(queries, gallery, 7)
    np.testing.assert_array_equal(found, index)
    np.testing.assert_allclose(cosines, 1 - distance, atol=1e-6)
    assert (np.diff(cosines) <= 0).all()
    for scale in (0.1, 9.0):
        np.testing.assert_array_equal(nearest(scale * queries, gallery, 7)[0], index)


def test_equal_neighbours_keep_their_order_and_zero_vectors_do_no_harm() -> None:
    gallery = np.array([(0, 0), (1, 1), (1, 1), (1, 1)], np.float32)
    queries = np.array([(2, 2), (0, 0)], np.float32)
    assert nearest(queries, gallery, 9)[0].tolist() == [[1, 2, 3, 0], [0, 1, 2, 3]]


def test_unit_vectors() -> None:
    vectors = unit(np.array([[[3.0, 4.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(vectors, [[[0.6, 0.8], [0, 0]]])
    assert vectors.dtype == np.float32
