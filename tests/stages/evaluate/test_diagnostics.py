"""Diagnostics tell collapsed, even and class-like features apart."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate.diagnostics import Diagnostics, describe
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels


def test_orthogonal_classes_by_hand() -> None:
    vectors = np.array([(2, 0), (3, 0), (0, 1), (0, 5)], np.float32)
    figures = describe(vectors, np.stack([vectors, vectors], 1), np.array([0, 0, 1, 1]))
    assert figures["cosine within classes"] == 1.0
    assert figures["cosine between classes"] == 0.0
    assert figures["alignment of clips"] == 0.0
    # Two pairs at distance 0, four at squared distance 2: log((2 + 4 exp(-4)) / 6).
    assert figures["uniformity"] == pytest.approx(np.log((2 + 4 * np.exp(-4)) / 6))


def test_clips_at_right_angles_are_two_apart() -> None:
    clips = np.array([[(1, 0), (0, 1)], [(0, 2), (3, 0)]], np.float32)
    figures = describe(clips.mean(1), clips, np.array([0, 1]))
    assert figures["alignment of clips"] == pytest.approx(2.0)
    assert "cosine within classes" not in figures


def test_collapse_shows() -> None:
    rng = np.random.default_rng(0)
    even = rng.normal(size=(300, 8)).astype(np.float32)
    flat = np.ones((300, 8), np.float32) * rng.random((300, 1), np.float32)
    ids = [f"{i:03d}" for i in range(300)]
    vectors = {"pretrained": {"gap": even}, "random": {"gap": flat}}
    clips = {name: poolings["gap"][:, None] for name, poolings in vectors.items()}
    rows = [LabelRow(v, f"class {i % 3}", "train" if i < 10 else "test") for i, v in enumerate(ids)]
    metrics = Diagnostics(max_videos=200).run(
        features=Features(ids, vectors, clips), labels=Labels(rows)
    )
    found = {(row.encoder, row.metric): row.value for row in metrics.rows}
    assert found["pretrained", "effective rank"] > 7
    assert found["random", "effective rank"] == pytest.approx(1, abs=0.05)
    assert found["random", "uniformity"] == pytest.approx(0, abs=1e-4)
    assert found["pretrained", "uniformity"] < -2
    assert {row.unit for row in metrics.rows} == {"number"}
    assert {row.n for row in metrics.rows} == {200}
    assert ("pretrained", "alignment of clips") not in found, "one view has no partner"
