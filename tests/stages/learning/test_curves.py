"""Curves of a log: a panel a figure, long ones averaged."""

from __future__ import annotations

import numpy as np

from stages.learning.curves import thinned, training_curves


def test_a_panel_for_every_figure() -> None:
    rows = [{"step": i, "of": 9, "epoch": 1, "loss": 1 / (i + 1), "iou": None} for i in range(9)]
    rows[4]["knn_accuracy"] = 0.5
    one = training_curves([{k: v for k, v in row.items() if k != "knn_accuracy"} for row in rows])
    two = training_curves(rows)
    assert two.shape[0] == one.shape[0]  # side by side
    assert two.shape[1] > one.shape[1]
    assert training_curves([{**row, "a": 1.0, "b": 2.0} for row in rows]).shape[0] > one.shape[0]


def test_long_curves_are_averaged() -> None:
    values = np.arange(1000.0)
    short = thinned(values.tolist(), points=10)
    assert short.tolist() == [49.5 + 100 * i for i in range(10)]
    assert thinned([1.0, 2.0], points=10).tolist() == [1.0, 2.0]
