"""Retrieval: the worked example of downstream.md section 14.3 and its invariances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ink import palette
from stages.evaluate.retrieval import Retrieval, rank_gallery, recall_at_k
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

GALLERY = np.array([(1, 0), (0.9, 0.1), (0, 1), (-1, 0)], np.float32)
QUERIES = np.array([(1, 0.05), (0.1, 1), (-1, 0.2)], np.float32)
GALLERY_LABELS, QUERY_LABELS = np.array([0, 1, 1, 2]), np.array([1, 1, 0])


def recall(queries: Any, gallery: Any, ks: list[int]) -> list[float]:
    return recall_at_k(rank_gallery(queries, gallery), QUERY_LABELS, GALLERY_LABELS, ks)


def test_worked_example() -> None:
    np.testing.assert_allclose(
        recall(QUERIES, GALLERY, [1, 2, 3, 4]), [1 / 3, 2 / 3, 2 / 3, 1], atol=1e-9
    )


def test_worked_example_with_centring_finds_all_within_three() -> None:
    centred = recall(QUERIES - QUERIES.mean(0), GALLERY - GALLERY.mean(0), [3])
    assert centred == [1.0]


def test_recall_grows_with_k_and_ignores_scale() -> None:
    rng = np.random.default_rng(0)
    gallery, queries = rng.standard_normal((40, 8)), rng.standard_normal((25, 8))
    labels, wanted = rng.integers(0, 5, 40), rng.integers(0, 5, 25)
    order = rank_gallery(queries.astype(np.float32), gallery.astype(np.float32))
    values = recall_at_k(order, wanted, labels, range(1, 41))
    assert (np.diff(values) >= 0).all()
    assert values[0] < values[-1] == 1.0
    scales = rng.uniform(0.1, 9, (25, 1)), rng.uniform(0.1, 9, (40, 1))
    scaled = rank_gallery(
        (queries * scales[0]).astype(np.float32), (gallery * scales[1]).astype(np.float32)
    )
    assert (scaled == order).all()


def test_equal_neighbours_keep_their_order_and_zero_vectors_do_no_harm() -> None:
    gallery = np.array([(0, 0), (1, 1), (1, 1), (1, 1)], np.float32)
    queries = np.array([(2, 2), (0, 0)], np.float32)
    assert rank_gallery(queries, gallery).tolist() == [[1, 2, 3, 0], [0, 1, 2, 3]]


@pytest.fixture
def toy(tmp_path: Path, make_frames: Any) -> dict[str, Any]:
    """The worked example as artifacts, with a random encoder that knows nothing."""
    ids = [f"{i}.mp4" for i in range(7)]
    vectors = np.concatenate([QUERIES, GALLERY])
    turned = np.concatenate([-QUERIES, GALLERY])
    blind = np.ones_like(vectors)
    folder = tmp_path / "shard"
    folder.mkdir()
    tables = {i: make_frames(i, kind=Shard, num_frames=3).to_tables() for i in ids}
    Shard.write_part(folder, tables)
    names = [*QUERY_LABELS, *GALLERY_LABELS]
    rows = [
        LabelRow(i, f"class {name}", "test" if n < 3 else "train")
        for n, (i, name) in enumerate(zip(ids, names, strict=True))
    ]
    return {
        "features": Features(
            ids,
            {"pretrained": {"A": vectors, "B": turned}, "random": {"A": blind, "B": blind}},
        ),
        "labels": Labels(rows),
        "shards": Items(Shard, [folder]),
    }


def test_stage_reports_both_encoders_side_by_side(toy: dict[str, Any]) -> None:
    metrics = Retrieval(ks=(1, 3, 50)).run(**toy)
    found = {(row.protocol[:11], row.encoder, row.metric): row.value for row in metrics.rows}
    assert found == pytest.approx(
        {
            ("retrieval A", "pretrained", "R@1"): 1 / 3,
            ("retrieval A", "pretrained", "R@3"): 2 / 3,
            ("retrieval A", "random", "R@1"): 1 / 3,  # all alike: the first is taken
            ("retrieval A", "random", "R@3"): 1,
            ("retrieval B", "pretrained", "R@1"): 1 / 3,
            ("retrieval B", "pretrained", "R@3"): 1,
            ("retrieval B", "random", "R@1"): 1 / 3,
            ("retrieval B", "random", "R@3"): 1,
        }
    ), "a k beyond the gallery is left out"
    assert {(row.split, row.n) for row in metrics.rows} == {("test", 3)}


def test_preview_marks_right_and_wrong_neighbours(toy: dict[str, Any]) -> None:
    stage = Retrieval()
    picture = stage.preview(stage.run(**toy), **toy)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    for colour in (palette(5), palette(0)):
        assert (np.abs(picture.astype(int) - colour).max(-1) < 10).sum() > 50
