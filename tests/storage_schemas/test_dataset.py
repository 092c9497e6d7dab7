"""Dataset: moves into its artifact and refuses a folder that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_schemas.dataset import Dataset
from storage_schemas.errors import SchemaError


def test_write_moves_the_three_folders_and_open_finds_them(tmp_path: Path) -> None:
    work, data = tmp_path / "work", tmp_path / "data"
    for name in ("UCF-101", "ucfTrainTestlist", "truth"):
        (work / name).mkdir(parents=True)
        (work / name / "file").write_text(name)
    data.mkdir()
    Dataset(work).write(data)
    assert not list(work.iterdir())
    assert (Dataset.open(data).videos_root / "file").read_text() == "UCF-101"
    assert (Dataset.open(data).lists_root / "file").read_text() == "ucfTrainTestlist"


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="holds no UCF-101 folder"):
        Dataset.open(tmp_path)
