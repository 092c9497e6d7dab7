"""Nearest-neighbour retrieval: test videos look for training videos of their class."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import GatherStage
from stages.evaluate.neighbours import nearest, unit
from stages.evaluate.retrieval_pictures import Strip, strips_film, strips_sheet
from stages.evaluate.scoring import score
from stages.evaluate.split import Splits, split_rows
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import Answers, Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

Protocol = Literal["A", "B", "B average", "C", "C not centred"]

PROTOCOLS: dict[Protocol, str] = {
    "A": "retrieval A (CtP)",
    "B": "retrieval B (RSPNet)",
    "B average": "retrieval B (RSPNet's code)",
    "C": "retrieval C (FAME)",
    "C not centred": "retrieval C (FAME, not centred)",
}
_QUERIES, _NEIGHBOURS = 4, 5  # that are pictured


class Retrieval(GatherStage, name="retrieval", version=2):
    """Protocols of downstream.md section 4; gallery = train, query = test, cosine.

    Parameters
    ----------
    ks : tuple of int
        A query is right if any of its k nearest has its class. A k beyond the gallery is
        left out.
    protocols : tuple of str
        ``A`` pooled maps (CtP, VCOP); ``B`` maximum over space (RSPNet's paper); ``B
        average`` what its code does; ``C`` FAME: averages of unit length, their mean over
        clips, minus the mean of all queries or of the whole gallery, which looks at all
        test videos together; ``C not centred`` without that.
    """

    ks: tuple[int, ...] = Field((1, 5, 10, 20, 50), min_length=1)
    protocols: tuple[Protocol, ...] = get_args(Protocol)

    def run(self, *, features: Features, labels: Labels, shards: Items[Shard]) -> Metrics:
        """R@k of all encoders."""
        splits = split_rows(features, labels)
        ks = [k for k in self.ks if k <= len(splits.train_rows)]
        answers = [
            self._answers(features, encoder, protocol, splits, depth=max(ks, default=0))
            for protocol in self.protocols
            for encoder in features.vectors
        ]
        rows = [
            row
            for one in answers
            for row in score(one, [f"R@{k}" for k in ks], version=self.version)
        ]
        return Metrics(rows, answers, splits.classes)

    def _answers(
        self, features: Features, encoder: str, protocol: Protocol, splits: Splits, *, depth: int
    ) -> Answers:
        gallery, queries = protocol_vectors(features, encoder, protocol, splits)
        indices_QK, cosines_QK = nearest(queries, gallery, depth)
        return Answers(
            PROTOCOLS[protocol],
            "",
            encoder,
            splits.tested,
            [features.video_ids[row] for row in splits.test_rows],
            splits.test_labels.astype(np.int32),
            splits.train_labels[indices_QK].astype(np.int32),
            cosines_QK,
        )

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Some queries with their nearest neighbours, by the first protocol."""
        queries = list(output.answers[0].video_ids)
        chosen = [
            queries[i] for i in np.unique(np.linspace(0, len(queries) - 1, _QUERIES, dtype=int))
        ]
        return strips_sheet(self._strips(chosen, self.protocols[:1], **inputs))

    def pictured(self, output: Any, **inputs: Any) -> Sequence[str]:
        """The queries."""
        return list(output.answers[0].video_ids)

    def sheet(self, video_id: str, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """A query with its nearest neighbours, by every protocol."""
        return strips_sheet(self._strips([video_id], self.protocols, **inputs))

    def film(
        self, video_id: str, output: Any, **inputs: Any
    ) -> tuple[Iterator[NDArray[np.uint8]], NDArray[np.float64]]:
        """The same, playing side by side."""
        strips = self._strips([video_id], self.protocols, **inputs)
        return strips_film({name: one for name, (one,) in strips.items()})

    def _strips(
        self,
        queries: Sequence[str],
        protocols: Sequence[Protocol],
        *,
        features: Features,
        labels: Labels,
        shards: Items[Shard],
    ) -> dict[str, list[Strip]]:
        """A strip for each query, by the name of protocol and encoder."""
        splits = split_rows(features, labels)
        video_ids = features.video_ids
        place = {video_ids[row]: i for i, row in enumerate(splits.test_rows)}
        asked_Q = np.array([place[query] for query in queries])
        strips = {}
        for protocol, encoder in itertools.product(protocols, features.vectors):
            gallery, vectors = protocol_vectors(features, encoder, protocol, splits)
            found_QK, _ = nearest(vectors[asked_Q], gallery, _NEIGHBOURS)
            right_QK = splits.train_labels[found_QK] == splits.test_labels[asked_Q, None]
            strips[f"{PROTOCOLS[protocol]}, {encoder}"] = [
                Strip(
                    shards[query],
                    [shards[video_ids[row]] for row in splits.train_rows[found_K]],
                    right_K.tolist(),
                )
                for query, found_K, right_K in zip(queries, found_QK, right_QK, strict=True)
            ]
        return strips


def protocol_vectors(
    features: Features, encoder: str, protocol: Protocol, splits: Splits
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of gallery and queries in a protocol's way."""
    match protocol:
        case "A" | "B":
            matrix = features.vectors[encoder][protocol]
        case "B average":
            matrix = features.vectors[encoder]["gap"]
        case "C" | "C not centred":
            matrix = unit(features.clip_vectors[encoder]).mean(1)
    gallery, queries = matrix[splits.train_rows], matrix[splits.test_rows]
    if protocol == "C":
        return gallery - gallery.mean(0), queries - queries.mean(0)
    return gallery, queries
