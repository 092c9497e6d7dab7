"""A linear classifier on frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import GatherStage
from stages.evaluate.figures import bars
from stages.evaluate.scoring import accuracies, chance, ranked, score
from stages.evaluate.split import split_rows
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import Answers, Metrics

PROTOCOL = "linear probe"


class LinearProbe(GatherStage, name="linear_probe", version=2):
    """Multinomial logistic regression on standardised average-pooled features.

    The strength of regularisation is a parameter and never chosen on test videos. The
    papers' own probes, which see other crops in every epoch, are `Finetune` with
    ``frozen=True``.
    """

    inverse_regularisation: float = Field(0.1, gt=0)
    max_iterations: int = Field(2000, ge=1)

    def run(self, *, features: Features, labels: Labels) -> Metrics:
        """Accuracy of all encoders on the test split, and on the training split."""
        splits = split_rows(features, labels)
        count = len(splits.classes)
        answers = []
        for encoder, poolings in features.vectors.items():
            gap = poolings["gap"]
            train_scores, test_scores = probe_scores(
                gap[splits.train_rows],
                splits.train_labels,
                gap[splits.test_rows],
                num_classes=count,
                inverse_regularisation=self.inverse_regularisation,
                max_iterations=self.max_iterations,
            )
            for split, rows_, labels_, scores in (
                (splits.tested, splits.test_rows, splits.test_labels, test_scores),
                ("train", splits.train_rows, splits.train_labels, train_scores),
            ):
                video_ids = [features.video_ids[row] for row in rows_]
                answers.append(
                    Answers(
                        PROTOCOL, "", encoder, split, video_ids,
                        labels_.astype(np.int32), *ranked(scores),
                    )
                )  # fmt: skip
        rows = []
        for one in answers:
            names = accuracies(count) if one.split == splits.tested else ["top-1"]
            rows += score(one, names, version=self.version)
        rows.append(chance(answers[0], count, version=self.version))
        return Metrics(rows, answers, splits.classes)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Bars of the figures, side by side."""
        return bars(output, title=PROTOCOL)


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
