"""kNN: votes by hand, and beside scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.evaluate.knn import Knn, vote
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels


@pytest.fixture
def toy() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 4
    vectors = (rng.normal(size=(4, 6))[labels] + rng.normal(0, 1.2, (60, 6))).astype(np.float32)
    ids = [f"{i:02d}.mp4" for i in range(60)]
    rows = [
        LabelRow(v, f"class {label}", "test" if i < 20 else "train")
        for i, (v, label) in enumerate(zip(ids, labels, strict=True))
    ]
    return {"features": Features(ids, {"pretrained": {"gap": vectors}}), "labels": Labels(rows)}


def test_two_near_votes_outweigh_the_nearest() -> None:
    votes = vote(
        np.array([[0, 1, 1]]), np.array([[0.9, 0.88, 0.86]], np.float32),
        num_classes=3, temperature=0.07,
    )  # fmt: skip
    weights = np.exp(np.array([0.9, 0.88, 0.86]) / 0.07)
    expected = np.array([weights[0], weights[1] + weights[2], 0]) / weights.sum()
    np.testing.assert_allclose(votes[0], expected, rtol=1e-5)
    assert votes[0].argmax() == 1


def test_as_scikit_learn(toy: dict[str, Any]) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    metrics = Knn(ks=(1, 5)).run(**toy)
    vectors = toy["features"].vectors["pretrained"]["gap"]
    labels = np.arange(60) % 4
    for answers, k in zip(metrics.answers, (1, 5), strict=True):
        theirs = KNeighborsClassifier(
            k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
        ).fit(vectors[20:], labels[20:])
        votes = theirs.predict_proba(vectors[:20])
        np.testing.assert_array_equal(answers.ranked_VK[:, 0], votes.argmax(1))
        np.testing.assert_allclose(answers.scores_VK[:, 0], votes.max(1), rtol=1e-4)
        found = next(r for r in metrics.rows if (r.preset, r.metric) == (f"k={k}", "top-1"))
        assert found.value == theirs.score(vectors[:20], labels[:20])


def test_rows_and_picture(toy: dict[str, Any]) -> None:
    stage = Knn(ks=(1, 500))
    metrics = stage.run(**toy)
    assert [(r.preset, r.encoder, r.metric) for r in metrics.rows] == [
        ("k=1", "pretrained", "top-1"), ("k=1", "pretrained", "mean class accuracy"),
        ("k=500", "pretrained", "top-1"), ("k=500", "pretrained", "mean class accuracy"),
        ("k=1", "chance", "top-1"), ("k=500", "chance", "top-1"),
    ]  # fmt: skip
    assert stage.preview(metrics).ndim == 3
