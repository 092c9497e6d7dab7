"""Retrieval: the worked example of downstream.md section 14.3 and its invariances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ink import palette
from stages.evaluate.neighbours import nearest
from stages.evaluate.retrieval import Protocol, Retrieval, protocol_vectors
from stages.evaluate.split import split_rows
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

GALLERY = np.array([(1, 0), (0.9, 0.1), (0, 1), (-1, 0)], np.float32)
QUERIES = np.array([(1, 0.05), (0.1, 1), (-1, 0.2)], np.float32)
GALLERY_LABELS, QUERY_LABELS = np.array([0, 1, 1, 2]), np.array([1, 1, 0])


def recall(protocol: Protocol, ks: list[int], *, scale: float = 1.0) -> list[float]:
    """R@k of the worked example as each protocol sees it."""
    ids = [f"{i}.mp4" for i in range(7)]
    vectors = scale * np.concatenate([QUERIES, GALLERY])
    rows = [
        LabelRow(video_id, f"class {label}", "test" if i < 3 else "train")
        for i, (video_id, label) in enumerate(
            zip(ids, [*QUERY_LABELS, *GALLERY_LABELS], strict=True)
        )
    ]
    poolings = {"A": vectors, "B": vectors, "gap": vectors}
    clips = {"pretrained": np.stack([vectors, vectors], axis=1)}
    metrics = Retrieval(ks=ks, protocols=(protocol,)).run(
        features=Features(ids, {"pretrained": poolings}, clips), labels=Labels(rows), shards={}
    )
    return [row.value for row in metrics.rows]


@pytest.mark.parametrize("protocol", ["A", "B", "B average", "C not centred"])
def test_worked_example(protocol: Protocol) -> None:
    for scale in (0.1, 1.0, 9.0):
        np.testing.assert_allclose(
            recall(protocol, [1, 2, 3, 4], scale=scale), [1 / 3, 2 / 3, 2 / 3, 1], atol=1e-9
        )


def test_worked_example_with_centring_finds_all_within_three() -> None:
    centred = rank_of(QUERIES - QUERIES.mean(0), GALLERY - GALLERY.mean(0))
    assert (centred < 3).all(), "downstream.md 14.3: R@3 is 1 with FAME's centring"
    assert recall("C", [3]) == [1.0]
    assert recall("C not centred", [3]) != [1.0]


def rank_of(queries: Any, gallery: Any) -> Any:
    """Place of the first neighbour of the right class."""
    right = GALLERY_LABELS[nearest(queries, gallery, 4)[0]] == QUERY_LABELS[:, None]
    return right.argmax(1)


def test_fame_takes_unit_length_of_each_clip_first() -> None:
    """A long clip must not outvote a short one."""
    clips = np.array([[(10, 0), (0, 1)], [(0, 1), (0, 1)], [(1, 0), (1, 0)]], np.float32)
    features = Features(["a", "b", "c"], {"pretrained": {}}, {"pretrained": clips})
    rows = [LabelRow(v, v, "test" if v == "a" else "train") for v in "abc"]
    splits = split_rows(features, Labels(rows))
    _, query = protocol_vectors(features, "pretrained", "C not centred", splits)
    np.testing.assert_allclose(query, [[0.5, 0.5]])


def test_recall_grows_with_k() -> None:
    rng = np.random.default_rng(0)
    ids = [f"{i:02d}" for i in range(65)]
    vectors = rng.standard_normal((65, 8)).astype(np.float32)
    rows = [
        LabelRow(v, f"class {rng.integers(5)}", "test" if i < 25 else "train")
        for i, v in enumerate(ids)
    ]
    metrics = Retrieval(ks=range(1, 41), protocols=("A",)).run(
        features=Features(ids, {"pretrained": {"A": vectors}}), labels=Labels(rows), shards={}
    )
    values = [row.value for row in metrics.rows]
    assert (np.diff(values) >= 0).all()
    assert values[0] < values[-1] == 1.0
    assert all(row.low <= row.value <= row.high for row in metrics.rows)
    (answers,) = metrics.answers
    assert answers.ranked_VK.shape == (25, 40)
    assert (np.diff(answers.scores_VK) <= 0).all()


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
    metrics = Retrieval(ks=(1, 3, 50), protocols=("A", "B")).run(**toy)
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
    stage = Retrieval(protocols=("A", "B"))
    picture = stage.preview(stage.run(**toy), **toy)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    for colour in (palette(5), palette(0)):
        assert (np.abs(picture.astype(int) - colour).max(-1) < 10).sum() > 50


def test_a_film_plays_query_and_neighbours_side_by_side(toy: dict[str, Any]) -> None:
    stage = Retrieval(protocols=("A", "B"))
    output = stage.run(**toy)
    assert list(stage.pictured(output, **toy)) == ["0.mp4", "1.mp4", "2.mp4"]
    images, times = stage.film("1.mp4", output, **toy)
    shown = list(images)
    np.testing.assert_allclose(times, [0, 0.04, 0.08])
    assert len(shown) == 3
    assert (shown[0] != shown[1]).any()
    sheet = stage.sheet("1.mp4", output, **toy)
    assert shown[0].shape == sheet.shape, "a line for each protocol and encoder"
    np.testing.assert_array_equal(shown[1], sheet)
