"""Overlap of boxes by worked numbers."""

from __future__ import annotations

import pytest
import torch

from stages.learning.box_iou import box_iou


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((10, 10), 1.0),
        ((20, 10), 0.6),
        ((10, 20), 1 / 3),
        ((30, 10), 1 / 3),
        ((100, 100), 0.0),
    ],
)
def test_worked_numbers(found: tuple[float, float], expected: float) -> None:
    """downstream.md section 6: a box of 40 x 20 at (10, 10), and the same elsewhere."""
    x, y = found
    boxes = torch.tensor([(x, y, x + 40, y + 20), (10, 10, 50, 30)], dtype=torch.float64)
    assert box_iou(boxes[0], boxes[1]).item() == pytest.approx(expected)
    assert box_iou(boxes[1], boxes[0]).item() == pytest.approx(expected)


def test_pairs_are_compared_along_all_axes() -> None:
    boxes = torch.rand(2, 3, 5, 4)
    boxes[..., 2:] += boxes[..., :2] + 0.01
    assert box_iou(*boxes).shape == (3, 5)
