"""A linear classifier on frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import bar_chart
from pipeline.stage import GatherStage
from stages.evaluate.split import Splits, split_rows
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import MetricRow, Metrics

PROTOCOL = "linear probe"


class LinearProbe(GatherStage, name="linear_probe", version=1):
    """Multinomial logistic regression on standardised average-pooled features.

    The strength of regularisation is a parameter and never chosen on test videos.
    """

    inverse_regularisation: float = Field(0.1, gt=0)
    max_iterations: int = Field(2000, ge=1)

    def run(self, *, features: Features, labels: Labels) -> Metrics:
        """Accuracy of both encoders on the test split, and on the training split."""
        splits = split_rows(features, labels)
        rows = [
            row
            for encoder, poolings in features.vectors.items()
            for row in self._rows(encoder, poolings["gap"], splits)
        ]
        chance = 1 / len(splits.classes)
        rows.append(MetricRow(PROTOCOL, "chance", "test", "top-1", chance, len(splits.test_rows)))
        return Metrics(rows)

    def _rows(
        self, encoder: str, vectors_VD: NDArray[np.float32], splits: Splits
    ) -> list[MetricRow]:
        scores = {}
        train_scores, test_scores = probe_scores(
            vectors_VD[splits.train_rows],
            splits.train_labels,
            vectors_VD[splits.test_rows],
            num_classes=len(splits.classes),
            inverse_regularisation=self.inverse_regularisation,
            max_iterations=self.max_iterations,
        )
        scores["test", "top-1"] = top_k(test_scores, splits.test_labels, 1)
        if len(splits.classes) > 5:
            scores["test", "top-5"] = top_k(test_scores, splits.test_labels, 5)
        scores["test", "mean class accuracy"] = mean_class_accuracy(test_scores, splits.test_labels)
        scores["train", "top-1"] = top_k(train_scores, splits.train_labels, 1)
        counts = {"train": len(splits.train_rows), "test": len(splits.test_rows)}
        return [
            MetricRow(PROTOCOL, encoder, split, metric, value, counts[split])
            for (split, metric), value in scores.items()
        ]

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Bars of the test figures, side by side."""
        assert isinstance(output, Metrics)
        bars: dict[str, dict[str, float]] = {}
        for row in output.rows:
            bars.setdefault(f"{row.metric}, {row.split}", {})[row.encoder] = row.value
        return bar_chart(bars, title=PROTOCOL)


def probe_scores(
    train_VD: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    test_VD: NDArray[np.float32],
    *,
    num_classes: int,
    inverse_regularisation: float,
    max_iterations: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class probabilities of training and test vectors, (V, num_classes).

    scikit-learn's logistic regression (L-BFGS, deterministic) on features that are
    standardised with the training split's mean and deviation. A class without training
    video gets zero.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=inverse_regularisation, max_iter=max_iterations),
    )
    classifier.fit(train_VD.astype(np.float64), train_labels)
    scores = []
    for vectors in (train_VD, test_VD):
        full = np.zeros((len(vectors), num_classes))
        full[:, classifier.classes_] = classifier.predict_proba(vectors.astype(np.float64))
        scores.append(full)
    return scores[0], scores[1]


def top_k(scores_VC: NDArray[np.float64], labels_V: NDArray[np.int64], k: int) -> float:
    """Share of videos whose class is among the k best."""
    best = np.argsort(-scores_VC, axis=1, kind="stable")[:, :k]
    return float((best == labels_V[:, None]).any(1).mean())


def mean_class_accuracy(scores_VC: NDArray[np.float64], labels_V: NDArray[np.int64]) -> float:
    """Mean over the classes present of their own top-1 accuracy."""
    right = scores_VC.argmax(1) == labels_V
    return float(np.mean([right[labels_V == label].mean() for label in np.unique(labels_V)]))
