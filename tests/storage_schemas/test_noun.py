"""Items across parts: one mapping, opened late and in each process anew."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.frames import Frames
from storage_schemas.noun import Items


def part(folder: Path, make_frames: Any, *video_ids: str) -> Path:
    folder.mkdir()
    tables = {i: make_frames(i, num_frames=3).to_tables() for i in video_ids}
    Frames.write_part(folder, tables)
    return folder


def test_parts_are_one_mapping_in_order(tmp_path: Path, make_frames: Any) -> None:
    folders = [
        part(tmp_path / "0", make_frames, "z.mp4", "a.mp4"),
        part(tmp_path / "1", make_frames),
        part(tmp_path / "2", make_frames, "m.mp4"),
    ]
    items = Items(Frames, folders)
    assert list(items) == ["z.mp4", "a.mp4", "m.mp4"]
    assert len(items) == 3
    assert items["m.mp4"].video_id == "m.mp4"
    assert "b.mp4" not in items
    assert repr(items) == "Items[frames](3 parts)"


def test_a_video_in_two_parts_is_an_error(tmp_path: Path, make_frames: Any) -> None:
    folders = [part(tmp_path / str(i), make_frames, "a.mp4") for i in range(2)]
    with pytest.raises(SchemaError, match=r"two parts.*--store.*'a\.mp4'"):
        list(Items(Frames, folders))


def test_pickle_carries_folders_not_handles(tmp_path: Path, make_frames: Any) -> None:
    items = Items(Frames, [part(tmp_path / "0", make_frames, "a.mp4")])
    closed = pickle.dumps(items)
    assert len(items) == 1  # opened now
    assert pickle.dumps(items) == closed
    assert (pickle.loads(closed)["a.mp4"].frames_THWC == items["a.mp4"].frames_THWC).all()


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    items = Items(Frames, [tmp_path / "missing"])
    with pytest.raises(SchemaError, match="cannot be read"):
        len(items)
