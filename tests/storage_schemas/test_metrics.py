"""Metrics keep their order and their exact values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.metrics import Answers, Measurements, MetricRow, Metrics


def test_round_trip_keeps_order(tmp_path: Path) -> None:
    rows = [
        MetricRow("retrieval A (CtP)", "random", "test", "R@5", 1 / 3, 12),
        MetricRow("linear probe", "pretrained", "test", "top-1", 0.1, 12),
    ]
    Metrics(rows).write(tmp_path)
    assert list(Metrics.open(tmp_path).rows) == rows


def test_no_rows(tmp_path: Path) -> None:
    Metrics([]).write(tmp_path)
    assert list(Metrics.open(tmp_path).rows) == []


def test_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(Metrics, "version", 3)
        Metrics([]).write(tmp_path)
    with pytest.raises(SchemaError, match="metrics version 3 was written by a newer tubelet"):
        Metrics.open(tmp_path)


def answers(count: int = 3, **changes: object) -> Answers:
    values = {
        "video_ids": [f"ü {i}.mp4" for i in range(count)],
        "labels_V": np.arange(count, dtype=np.int32),
        "ranked_VK": np.arange(4 * count, dtype=np.int32).reshape(count, 4),
        "scores_VK": np.linspace(1, 0, 4 * count, dtype=np.float32).reshape(count, 4),
    }
    return Answers("kNN", "k=5", "pretrained", "test", **(values | changes))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_come_back_as_they_were(tmp_path: Path, count: int) -> None:
    row = MetricRow("kNN", "pretrained", "test", "top-1", 0.5, 3, "k=5", 2, 0.25, 0.75, "number")
    written = answers(count)
    Metrics([row], [written], ["a", "b ü"]).write(tmp_path)
    read = Metrics.open(tmp_path)
    assert list(read.rows) == [row]
    assert read.classes == ["a", "b ü"]
    (found,) = read.answers
    assert found.video_ids == written.video_ids
    for name in ("labels_V", "ranked_VK", "scores_VK"):
        np.testing.assert_array_equal(getattr(found, name).ravel(), getattr(written, name).ravel())
    if count:
        assert found.key == written.key == "kNN/k=5/pretrained/test"


def test_shapes_and_repeated_videos_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"answers of 3 videos: labels \(2,\)"):
        answers(labels_V=np.zeros(2, np.int32))
    with pytest.raises(SchemaError, match="3 answers, but only 2 videos"):
        answers(video_ids=["a", "b", "a"])


def test_measurements_are_read_as_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    written = Measurements("tracking", "tubes", "no motion", "test", ["a", "b ü", "c"], values)
    empty = Measurements("", "", "", "", [], np.zeros((0, 0), np.float32))
    Metrics([], measurements=[written, empty]).write(tmp_path)
    found, none = Metrics.open(tmp_path).measurements
    assert found.key == written.key == "tracking/tubes/no motion/test"
    assert list(found.video_ids) == ["a", "b ü", "c"]
    assert found.values_VT.dtype == np.float32
    np.testing.assert_array_equal(found.values_VT, values)
    assert len(none.video_ids) == 0


def test_an_artifact_without_measurements_has_no_such_file(tmp_path: Path) -> None:
    Metrics([]).write(tmp_path)
    assert not (tmp_path / "measurements.arrow").exists()
    assert Metrics.open(tmp_path).measurements == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 5)), r"of 3 videos have shape \(2, 5\)"),
        (np.full((3, 5), np.nan), "not finite"),
    ],
)
def test_measurements_refuse_to_be_wrong(values: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Measurements("p", "", "e", "test", ["a", "b", "c"], values.astype(np.float32))
