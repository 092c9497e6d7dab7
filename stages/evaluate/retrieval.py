"""Nearest-neighbour retrieval: test videos look for training videos of their class."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.ink import palette
from pipeline.pictures import caption, stack, strip
from pipeline.stage import GatherStage
from stages.evaluate.neighbours import nearest, unit
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
_GOOD, _BAD = palette(5), palette(0)  # blue and red: everybody can tell them apart


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
        """Queries with their five nearest neighbours; the border tells the right class."""
        features, shards = inputs["features"], inputs["shards"]
        splits = split_rows(features, inputs["labels"])
        queries = np.linspace(0, len(splits.test_rows) - 1, 4).astype(int)
        protocol = self.protocols[0]
        blocks = []
        for encoder in features.vectors:
            gallery, asked = protocol_vectors(features, encoder, protocol, splits)
            lines = []
            for query, found in zip(queries, nearest(asked[queries], gallery, 5)[0], strict=True):
                label = splits.test_labels[query]
                frames = [_framed(shards, features, splits.test_rows[query], palette(4))]
                for i in found:
                    right = splits.train_labels[i] == label
                    colour = _GOOD if right else _BAD
                    frames.append(_framed(shards, features, splits.train_rows[i], colour))
                lines.append(strip(frames, height=72))
            text = f"{PROTOCOLS[protocol]}, {encoder}: query, 5 nearest; blue is right, red wrong"
            blocks.append(caption(stack(lines), text))
        return stack(blocks)


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


def _framed(
    shards: Items[Shard], features: Features, row: int, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    video = shards[features.video_ids[row]]
    frame = video.decode([len(video) // 2])[0].copy()
    edge = max(2, min(frame.shape[:2]) // 20)
    for border in (frame[:edge], frame[-edge:], frame[:, :edge], frame[:, -edge:]):
        border[:] = colour
    return frame
