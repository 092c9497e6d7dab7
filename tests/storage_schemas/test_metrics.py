"""Metrics keep their order and their exact values."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.metrics import MetricRow, Metrics


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
        later.setattr(Metrics, "version", 2)
        Metrics([]).write(tmp_path)
    with pytest.raises(SchemaError, match="metrics version 2 was written by a newer tubelet"):
        Metrics.open(tmp_path)
