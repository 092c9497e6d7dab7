"""What features look like, whatever the classes are, and how they lie to the classes.

References
----------
Wang and Isola, *Understanding Contrastive Representation Learning through Alignment and
Uniformity*, ICML 2020; Garrido et al., *RankMe*, ICML 2023.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import GatherStage
from stages.evaluate.neighbours import unit
from stages.evaluate.split import split_rows
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import MetricRow, Metrics

PROTOCOL = "feature diagnostics"


class Diagnostics(GatherStage, name="diagnostics", version=1):
    """Figures of average-pooled features of the test split.

    They come from the features artifact, not from answers, so `tubelet metrics --recompute`
    has nothing to say of them.

    Parameters
    ----------
    max_videos : int
        Pairs are compared among at most so many videos, evenly from all.
    """

    max_videos: int = Field(2000, ge=2)

    def run(self, *, features: Features, labels: Labels) -> Metrics:
        """See `describe` for the figures."""
        splits = split_rows(features, labels)
        chosen = np.linspace(
            0, len(splits.test_rows) - 1, min(self.max_videos, len(splits.test_rows))
        ).astype(int)
        rows = []
        for encoder, poolings in features.vectors.items():
            figures = describe(
                poolings["gap"][splits.test_rows[chosen]],
                features.clip_vectors[encoder][splits.test_rows[chosen]],
                splits.test_labels[chosen],
            )
            rows += [
                MetricRow(
                    PROTOCOL, encoder, splits.tested, name, value, len(chosen),
                    version=self.version, unit="number",
                )
                for name, value in figures.items()
            ]  # fmt: skip
        return Metrics(rows)


def describe(
    vectors_VD: NDArray[np.float32], clips_VND: NDArray[np.float32], labels_V: NDArray[np.int64]
) -> dict[str, float]:
    """Figures of features.

    Parameters
    ----------
    vectors_VD : ndarray
        Of videos.
    clips_VND : ndarray
        Of their views.
    labels_V : ndarray

    Returns
    -------
    dict of str -> float
        ``effective rank`` and ``feature deviation`` (near 0: collapsed, near 1: even);
        ``uniformity`` of videos (lower is more even); ``alignment of clips``, the mean
        squared distance of views of one video; mean ``cosine within`` and ``between``
        classes. Without two views, or pairs of a kind, a figure is left out.
    """
    import torch

    from stages.learning.health import alignment, effective_rank, feature_std, uniformity

    videos = torch.from_numpy(np.array(vectors_VD))
    unit_VD = torch.from_numpy(unit(vectors_VD))
    figures = {
        "effective rank": float(effective_rank(videos)),
        "feature deviation": float(feature_std(videos)),
        "uniformity": float(uniformity(unit_VD)),
    }
    unit_VND = torch.from_numpy(unit(clips_VND))
    count = unit_VND.shape[1]
    if count > 1:
        first, second = np.triu_indices(count, 1)
        pairs = (unit_VND[:, first].flatten(0, 1), unit_VND[:, second].flatten(0, 1))
        figures["alignment of clips"] = float(alignment(*pairs))
    cosine_VV = (unit_VD @ unit_VD.T).numpy()
    first, second = np.triu_indices(len(labels_V), 1)
    same = labels_V[first] == labels_V[second]
    for name, chosen in (("cosine within classes", same), ("cosine between classes", ~same)):
        if chosen.any():
            figures[name] = float(cosine_VV[first[chosen], second[chosen]].mean())
    return figures
