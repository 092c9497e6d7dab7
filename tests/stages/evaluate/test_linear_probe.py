"""The linear probe: toys with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.evaluate.linear_probe import (
    LinearProbe,
    probe_scores,
)
from stages.evaluate.scoring import recompute
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.metrics import Metrics


def toy(num_classes: int = 3, per_class: int = 6) -> dict[str, Any]:
    """Clusters that a plane separates, for one encoder; noise for the other."""
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(num_classes), per_class)
    centres = 10 * np.eye(num_classes, 8)
    vectors = (centres[names] + rng.normal(0, 0.3, (len(names), 8))).astype(np.float32)
    noise = rng.normal(0, 1, vectors.shape).astype(np.float32)
    ids = [f"{i:03d}.mp4" for i in range(len(names))]
    rows = [
        LabelRow(video_id, f"class {name}", "test" if i % 3 == 0 else "train")
        for i, (video_id, name) in enumerate(zip(ids, names, strict=True))
    ]
    return {
        "features": Features(ids, {"pretrained": {"gap": vectors}, "random": {"gap": noise}}),
        "labels": Labels(rows),
    }


def values(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    return {(row.encoder, row.split, row.metric): row.value for row in metrics.rows}


def test_separable_classes_are_told_apart() -> None:
    metrics = LinearProbe().run(**toy())
    found = values(metrics)
    for split, metric in (("test", "top-1"), ("test", "mean class accuracy"), ("train", "top-1")):
        assert found["pretrained", split, metric] == 1.0
        assert ("random", split, metric) in found
    assert found["random", "test", "top-1"] < 1.0
    assert found["chance", "test", "top-1"] == pytest.approx(1 / 3)
    assert {row.split: row.n for row in metrics.rows} == {"train": 12, "test": 6}
    assert not any(row.metric == "top-5" for row in metrics.rows)


def test_top_five_appears_with_more_than_five_classes() -> None:
    assert values(LinearProbe().run(**toy(num_classes=6)))["pretrained", "test", "top-5"] == 1.0


def test_same_features_same_figures() -> None:
    one, two = LinearProbe().run(**toy()), LinearProbe().run(**toy())
    assert one.rows == two.rows
    assert [again for _, again in recompute(one)] == [row.value for row in one.rows]


def test_scale_and_shift_of_a_feature_do_not_count() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.normal(size=(30, 4)), rng.normal(size=(10, 4))
    labels = (train[:, 0] > 0).astype(int)
    options: dict[str, Any] = {
        "num_classes": 2, "inverse_regularisation": 0.1, "max_iterations": 500,
    }  # fmt: skip
    _, plain = probe_scores(train, labels, test, **options)
    factor, shift = np.array([1, 100, 0.01, 5]), np.array([3, -50, 0, 7])
    _, moved = probe_scores(train * factor + shift, labels, test * factor + shift, **options)
    np.testing.assert_allclose(moved, plain, atol=1e-5)


def test_a_class_without_training_videos_scores_zero() -> None:
    train = np.array([[0.0], [0.1], [5.0], [5.1]], np.float32)
    _, scores = probe_scores(
        train, np.array([0, 0, 2, 2]), train, num_classes=4,
        inverse_regularisation=1.0, max_iterations=500,
    )  # fmt: skip
    assert scores.shape == (4, 4)
    assert (scores[:, [1, 3]] == 0).all()
    assert scores.argmax(1).tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(scores.sum(1), 1)


def test_preview_is_a_picture() -> None:
    stage = LinearProbe()
    picture = stage.preview(stage.run(**toy()))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
