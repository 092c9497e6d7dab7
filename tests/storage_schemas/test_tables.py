"""Arrow files with one batch a video."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.tables import TableFile, check_version, write_table

SCHEMA = pa.schema([pa.field("x", pa.int32(), nullable=False), pa.field("name", pa.string())])


def table(*values: int) -> pa.Table:
    return pa.table(
        {"x": pa.array(values, pa.int32()), "name": pa.array(map(str, values), pa.string())},
        schema=SCHEMA,
    )


def write(path: Path, items: dict[str, pa.Table], ids: list[str] | None = None) -> int:
    return write_table(
        path, SCHEMA, items.items(), video_ids=ids or list(items), noun="thing", version=2
    )


def read(path: Path, *, noun: str = "thing", version: int = 2) -> TableFile:
    return TableFile(path, SCHEMA, noun=noun, version=version)


def test_round_trip_with_an_empty_video_in_the_middle(tmp_path: Path) -> None:
    items = {"b é/#1.mp4": table(1, 2), "empty.mp4": table(), "a.mp4": table(3)}
    assert write(tmp_path / "t.arrow", items) == 3
    file = read(tmp_path / "t.arrow")
    assert list(file) == file.video_ids == list(items)
    assert {i: file[i].column("x").to_pylist() for i in file} == {
        "b é/#1.mp4": [1, 2], "empty.mp4": [], "a.mp4": [3],
    }  # fmt: skip
    with pytest.raises(KeyError):
        file["missing.mp4"]


def test_chunked_tables_become_one_batch(tmp_path: Path) -> None:
    write(tmp_path / "t.arrow", {"a": pa.concat_tables([table(1), table(2, 3)])})
    assert read(tmp_path / "t.arrow")["a"].column("x").to_pylist() == [1, 2, 3]


def test_no_videos(tmp_path: Path) -> None:
    assert write(tmp_path / "t.arrow", {}) == 0
    assert list(read(tmp_path / "t.arrow")) == []


def test_order_must_follow_the_index(tmp_path: Path) -> None:
    items = {"a": table(1), "b": table(2)}
    with pytest.raises(SchemaError, match=r"table 0 is of video 'a', but the index names \['b'\]"):
        write(tmp_path / "t.arrow", items, ["b", "a"])
    with pytest.raises(SchemaError, match="2 tables for 3 videos"):
        write(tmp_path / "t.arrow", items, ["a", "b", "c"])
    with pytest.raises(SchemaError, match="table 1 is of video 'b'"):
        write(tmp_path / "t.arrow", items, ["a"])


def test_wrong_columns_are_refused_with_both_schemas(tmp_path: Path) -> None:
    wrong = pa.table({"x": pa.array([1.0]), "name": ["a"]})
    with pytest.raises(SchemaError, match=r"double.*do not follow.*int32.*\[video 'a'\]"):
        write(tmp_path / "t.arrow", {"a": wrong})


def test_newer_version_is_refused_and_an_older_one_read(tmp_path: Path) -> None:
    write(tmp_path / "t.arrow", {"a": table(1)})
    message = r"thing version 2 was written by a newer tubelet.*up to version 1.*--store"
    with pytest.raises(SchemaError, match=message):
        read(tmp_path / "t.arrow", version=1)
    assert len(read(tmp_path / "t.arrow", version=3)) == 1
    check_version("thing", 1, 1, where="here")


def test_another_noun_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "t.arrow", {"a": table(1)})
    with pytest.raises(SchemaError, match="holds 'thing', expected 'other'"):
        read(tmp_path / "t.arrow", noun="other")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_unreadable_file_says_what_to_run(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.arrow"
    write(path, {"a": table(*range(1000))})
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, 0 if damage == "empty" else path.stat().st_size // 2)
    with pytest.raises(SchemaError, match=r"t\.arrow cannot be read.*tubelet verify"):
        read(path)


def test_a_foreign_arrow_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    with path.open("wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_table(table(1))
    with pytest.raises(SchemaError, match="'no tubelet noun', expected 'thing'"):
        read(path)
