"""The files of an encoder: copied whole, opened without torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError

PARAMETERS = {"name": "r3d18", "width": 4}


@pytest.fixture
def training(tmp_path: Path) -> EncoderFiles:
    folder = tmp_path / "training"
    (folder / "tensorboard" / "run").mkdir(parents=True)
    (folder / "tensorboard" / "run" / "events").write_bytes(b"events")
    (folder / "encoder.pt").write_bytes(b"weights")
    (folder / "log.jsonl").write_text('{"step": 1}\n')
    (folder / "checkpoint.pt").write_bytes(b"not part of the artifact")
    EncoderFiles.describe(folder, PARAMETERS, mean=(0.1, 0.2, 0.3), std=(1, 2, 4))
    return EncoderFiles.open(folder)


def test_round_trip_leaves_the_training_as_it_was(training: EncoderFiles, tmp_path: Path) -> None:
    before = sorted(p.relative_to(training.folder) for p in training.folder.rglob("*"))
    target = tmp_path / "artifact"
    target.mkdir()
    training.write(target)
    read = EncoderFiles.open(target)
    assert read.parameters == PARAMETERS
    assert (read.mean, read.std) == ([0.1, 0.2, 0.3], [1, 2, 4])
    assert read.weights.read_bytes() == b"weights"
    assert read.log.read_text() == '{"step": 1}\n'
    assert (target / "tensorboard" / "run" / "events").read_bytes() == b"events"
    assert not (target / "checkpoint.pt").exists()
    assert sorted(p.relative_to(training.folder) for p in training.folder.rglob("*")) == before


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"encoder\.json is missing: not an encoder artifact"):
        EncoderFiles.open(tmp_path)


def test_newer_version_is_refused(training: EncoderFiles) -> None:
    path = training.folder / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    with pytest.raises(SchemaError, match="encoder version 3 was written by a newer tubelet"):
        EncoderFiles.open(training.folder)
