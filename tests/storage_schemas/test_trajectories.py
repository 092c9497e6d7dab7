"""A bank of trajectories refuses what cannot be pasted."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.trajectories import Trajectories


def bank(n: int = 2, **changes: Any) -> Trajectories:
    k, t = 3, 4
    values: dict[str, Any] = {
        "size": 32,
        "boxes_NKT4": np.tile(np.array([1, 2, 20, 32], np.int16), (n, k, t, 1)),
        "visible_NKT": np.arange(n * k * t).reshape(n, k, t) % 2 == 0,
        "opacity_NKT": np.full((n, k, t), 0.75, np.float32),
        "source_frame_NK": np.full((n, k), 3, np.int16),
        "shape_NK": np.full((n, k), 2, np.uint8),
        "edge_NK": np.full((n, k), 0.25, np.float32),
    }
    return Trajectories(**(values | changes))


@pytest.mark.parametrize("n", [0, 2])
def test_round_trip(tmp_path: Path, n: int) -> None:
    written = bank(n)
    written.write(tmp_path)
    read = Trajectories.open(tmp_path)
    for field in fields(Trajectories):
        found, expected = getattr(read, field.name), getattr(written, field.name)
        np.testing.assert_array_equal(found, expected, strict=field.name != "size")
    assert len(read) == n
    assert read.num_frames == 4
    assert repr(read) == f"Trajectories(N={n}, K=3, T=4, size=32)"


@pytest.mark.parametrize("box", [(1, 2, 33, 32), (1, 2, 20, 33), (-1, 2, 20, 32), (5, 2, 5, 9)])
def test_boxes_are_inside_and_not_empty(box: tuple[int, ...]) -> None:
    boxes = bank().boxes_NKT4.copy()
    boxes[1, 2, 3] = box
    with pytest.raises(SchemaError, match=r"non-empty and inside 0\.\.32"):
        bank(boxes_NKT4=boxes)


@pytest.mark.parametrize(
    ("name", "shape"), [("visible_NKT", (2, 3, 5)), ("opacity_NKT", (2, 4, 4)), ("edge_NK", (2, 4))]
)
def test_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match=rf"{name} has shape \({shape[0]}, .*\), not \(2, 3"):
        bank(**{name: np.zeros(shape)})


def test_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(Trajectories, "version", 2)
        bank().write(tmp_path)
    with pytest.raises(SchemaError, match="trajectories version 2 was written by a newer tubelet"):
        Trajectories.open(tmp_path)
