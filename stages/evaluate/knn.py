"""Classification by the votes of the nearest training videos."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import GatherStage
from stages.evaluate.figures import bars
from stages.evaluate.neighbours import nearest
from stages.evaluate.scoring import accuracies, chance, ranked, score
from stages.evaluate.split import split_rows
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import Answers, Metrics

PROTOCOL = "kNN"


class Knn(GatherStage, name="knn", version=1):
    """A vote weighs exp(cosine / `temperature`), on average-pooled features.

    Parameters
    ----------
    ks : tuple of int
        Numbers of neighbours, each a preset of its own; one beyond the training videos asks
        them all.
    temperature : float

    References
    ----------
    Wu et al., *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*,
    CVPR 2018.
    """

    ks: tuple[int, ...] = Field((1, 5, 20), min_length=1)
    temperature: float = Field(0.07, gt=0)

    def run(self, *, features: Features, labels: Labels) -> Metrics:
        """Accuracy of all encoders on the test split."""
        splits = split_rows(features, labels)
        count = len(splits.classes)
        answers = []
        for encoder, poolings in features.vectors.items():
            gap = poolings["gap"]
            indices_QK, cosines_QK = nearest(
                gap[splits.test_rows], gap[splits.train_rows], max(self.ks)
            )
            for k in self.ks:
                votes_QC = vote(
                    splits.train_labels[indices_QK[:, :k]],
                    cosines_QK[:, :k],
                    num_classes=count,
                    temperature=self.temperature,
                )
                answers.append(
                    Answers(
                        PROTOCOL,
                        f"k={k}",
                        encoder,
                        splits.tested,
                        [features.video_ids[row] for row in splits.test_rows],
                        splits.test_labels.astype(np.int32),
                        *ranked(votes_QC),
                    )
                )
        rows = [
            row for one in answers for row in score(one, accuracies(count), version=self.version)
        ]
        rows += [chance(one, count, version=self.version) for one in answers[: len(self.ks)]]
        return Metrics(rows, answers, splits.classes)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Bars of the figures, side by side."""
        return bars(output, title=PROTOCOL)


def vote(
    labels_QK: NDArray[np.int64],
    cosines_QK: NDArray[np.float32],
    *,
    num_classes: int,
    temperature: float,
) -> NDArray[np.float64]:
    """Share of the votes of each class, (Q, num_classes)."""
    # Minus the best: the exponential of 1 / 0.07 is large, its square overflows float32.
    weight_QK = np.exp((cosines_QK.astype(np.float64) - cosines_QK[:, :1]) / temperature)
    votes_QC = np.zeros((len(labels_QK), num_classes))
    np.add.at(votes_QC, (np.arange(len(labels_QK))[:, None], labels_QK), weight_QK)
    return votes_QC / votes_QC.sum(1, keepdims=True)
