"""A bank of trajectories refuses what cannot be pasted."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.trajectories import H5_NAME, Trajectories


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


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("source_frame_NK", 4, r"source_frame_NK has values in 3\.\.4, not in 0\.\.3"),
        ("shape_NK", 3, r"shape_NK has values in 2\.\.3, not in 0\.\.2"),
        ("opacity_NKT", 1.5, r"opacity_NKT has values in 0\.75\.\.1\.5, not in 0\.\.1"),
        ("opacity_NKT", np.nan, r"opacity_NKT has values"),
    ],
)
def test_values_are_in_range(name: str, value: float, told: str) -> None:
    values = getattr(bank(), name).copy()
    values.flat[-1] = value
    with pytest.raises(SchemaError, match=told):
        bank(**{name: values})


def test_entries() -> None:
    one = bank()
    assert [len(patches.boxes_KT4) for patches in one] == [3, 3]
    np.testing.assert_array_equal(one[-1].visible_KT, one.visible_NKT[1])
    with pytest.raises(IndexError):
        one[2]


def test_blocks_make_one_bank(tmp_path: Path) -> None:
    whole = bank(5, source_frame_NK=np.arange(15, dtype=np.int16).reshape(5, 3) % 4)
    blocks = [
        bank(3, source_frame_NK=whole.source_frame_NK[:3]),
        bank(3, source_frame_NK=np.vstack([whole.source_frame_NK[3:], [[0, 0, 0]]])),
    ]
    Trajectories.write_blocks(tmp_path, iter(blocks), count=5)
    read = Trajectories.open(tmp_path)
    for field in fields(Trajectories):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(whole, field.name))
    with pytest.raises(SchemaError, match="a bank of 7 trajectories was given 6"):
        Trajectories.write_blocks(tmp_path, iter(blocks), count=7)


def test_opened_bank_is_mapped_and_pickles_as_its_folder(tmp_path: Path) -> None:
    bank(2000).write(tmp_path)
    read = Trajectories.open(tmp_path)
    assert not read.boxes_NKT4.flags.owndata
    assert not read.boxes_NKT4.flags.writeable
    sent = pickle.dumps(read)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).opacity_NKT, read.opacity_NKT)
    # One in memory travels whole.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(bank())).edge_NK, bank().edge_NK)


def test_rewriting_leaves_an_opened_bank_alone(tmp_path: Path) -> None:
    bank(2000).write(tmp_path)
    read = Trajectories.open(tmp_path)
    bank(1).write(tmp_path)
    assert len(Trajectories.open(tmp_path)) == 1
    np.testing.assert_array_equal(read.boxes_NKT4, bank(2000).boxes_NKT4)


def test_damaged_entry_is_refused_when_it_is_read(tmp_path: Path) -> None:
    bank(4).write(tmp_path)
    with h5py.File(tmp_path / H5_NAME, "r+") as file:
        file["boxes_NKT4"][2, 0, 0] = (5, 5, 5, 9)
    read = Trajectories.open(tmp_path)
    read[1]
    with pytest.raises(SchemaError, match=r"non-empty and inside 0\.\.32"):
        read[2]


def test_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(Trajectories, "version", 2)
        bank().write(tmp_path)
    with pytest.raises(SchemaError, match="trajectories version 2 was written by a newer tubelet"):
        Trajectories.open(tmp_path)
