"""A file as a parameter: content counts, place does not, changes are noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.input_file import InputFile
from pipeline.keys import KEY_CONTEXT


class Holder(BaseModel):
    file: InputFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "boxes é.json"
    path.write_bytes(b"content")
    return path


def test_digest_is_taken_from_the_file(path: Path) -> None:
    file = Holder(file=str(path)).file
    assert file.sha256 == hashlib.sha256(b"content").hexdigest()
    assert file.path == path
    assert Holder(file=path).file == file


def test_only_the_digest_is_dumped_for_a_key(path: Path) -> None:
    holder = Holder(file=path)
    digest = hashlib.sha256(b"content").hexdigest()
    assert holder.model_dump(context=KEY_CONTEXT) == {"file": {"sha256": digest}}
    assert holder.model_dump() == {"file": {"path": str(path), "sha256": digest}}
    assert Holder.model_validate(holder.model_dump(mode="json")) == holder


def test_relative_paths_are_made_absolute(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert Holder(file=path.name).file.path == path


def test_a_file_that_changed_since_planning_is_refused(path: Path) -> None:
    planned = Holder(file=path).model_dump(mode="json")
    path.write_bytes(b"other")
    with pytest.raises(ValidationError, match="it changed since the run was planned; run again"):
        Holder.model_validate(planned)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_no_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="is no file; give the path of one"):
        Holder(file=tmp_path / name)


def test_unknown_fields_are_refused(path: Path) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Holder(file={"path": str(path), "sha265": "x"})
