"""Nearest-neighbour retrieval: test videos look for training videos of their class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import palette
from pipeline.pictures import caption, stack, strip
from pipeline.stage import GatherStage
from stages.evaluate.split import split_rows
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import MetricRow, Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

PROTOCOLS = {"A": "retrieval A (CtP)", "B": "retrieval B (RSPNet)"}
_GOOD, _BAD = palette(5), palette(0)  # blue and red: everybody can tell them apart


class Retrieval(GatherStage, name="retrieval", version=1):
    """Protocols A and B of downstream.md section 4; gallery = train, query = test, cosine."""

    ks: tuple[int, ...] = (1, 5, 10, 20, 50)

    def run(self, *, features: Features, labels: Labels, shards: Items[Shard]) -> Metrics:
        """R@k of both encoders; a k beyond the gallery is left out."""
        splits = split_rows(features, labels)
        rows = []
        for pooling, protocol in PROTOCOLS.items():
            for encoder, poolings in features.vectors.items():
                order = rank_gallery(
                    poolings[pooling][splits.test_rows], poolings[pooling][splits.train_rows]
                )
                ks = [k for k in self.ks if k <= len(splits.train_rows)]
                values = recall_at_k(order, splits.test_labels, splits.train_labels, ks)
                rows += [
                    MetricRow(protocol, encoder, "test", f"R@{k}", value, len(splits.test_rows))
                    for k, value in zip(ks, values, strict=True)
                ]
        return Metrics(rows)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Queries with their five nearest neighbours; the border tells the right class."""
        features, shards = inputs["features"], inputs["shards"]
        splits = split_rows(features, inputs["labels"])
        queries = np.linspace(0, len(splits.test_rows) - 1, 4).astype(int)
        blocks = []
        for encoder, poolings in features.vectors.items():
            vectors = poolings["A"]
            order = rank_gallery(vectors[splits.test_rows[queries]], vectors[splits.train_rows])
            lines = []
            for query, nearest in zip(queries, order[:, :5], strict=True):
                label = splits.test_labels[query]
                frames = [_framed(shards, features, splits.test_rows[query], palette(4))]
                for i in nearest:
                    right = splits.train_labels[i] == label
                    colour = _GOOD if right else _BAD
                    frames.append(_framed(shards, features, splits.train_rows[i], colour))
                lines.append(strip(frames, height=72))
            blocks.append(
                caption(stack(lines), f"{encoder}: query, 5 nearest; blue is right, red wrong")
            )
        return stack(blocks)


def rank_gallery(
    queries_QD: NDArray[np.float32], gallery_GD: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Gallery rows from near to far for each query, (Q, G), by cosine similarity."""
    similarity_QG = _unit(queries_QD) @ _unit(gallery_GD).T
    return np.argsort(-similarity_QG, axis=1, kind="stable")


def recall_at_k(
    order_QG: NDArray[np.int64],
    query_labels: NDArray[np.int64],
    gallery_labels: NDArray[np.int64],
    ks: Sequence[int],
) -> list[float]:
    """Share of queries with *any* of the k nearest of their own class, for each k."""
    right_QG = gallery_labels[order_QG] == query_labels[:, None]
    return [float(right_QG[:, :k].any(1).mean()) for k in ks]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def _framed(
    shards: Items[Shard], features: Features, row: int, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    video = shards[features.video_ids[row]]
    frame = video.decode([len(video) // 2])[0].copy()
    edge = max(2, min(frame.shape[:2]) // 20)
    for border in (frame[:edge], frame[-edge:], frame[:, :edge], frame[:, -edge:]):
        border[:] = colour
    return frame
