"""Manifests survive JSON, quarantine and all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage_schemas.errors import StoreError
from storage_schemas.manifest import (
    PREVIEW_NAME,
    ArtifactView,
    FileEntry,
    Manifest,
    QuarantineRow,
)

MANIFEST = Manifest(
    key="slic-sha256abc", stage="slic", stage_version=1, step="coarse", noun="boxes",
    noun_version=1, parameters={"num_segments": 16, "none": None, "pair": [0.05, 0.7]},
    inputs={"frames": ["decode-sha256def"]}, part="0003", items=["é #1.mp4", "b.mp4"],
    files={"boxes.arrow": FileEntry("a" * 64, 100, 7), "videos.arrow": FileEntry("b" * 64, 28, 2)},
    quarantined=[
        QuarantineRow("c.mp4", "slic", "BadVideo", "3 of 9 frames", 3, 9),
        QuarantineRow("d.mp4", "slic", "Crashed", "signal 11"),
    ],
    notes=["one"], seconds=1.5, created="2026-11-21", host="box", libraries={"numpy": "2.4"},
)  # fmt: skip


def test_round_trip() -> None:
    assert Manifest.from_json(MANIFEST.to_json(), where="here") == MANIFEST
    assert MANIFEST.bytes == 128
    assert "é #1.mp4" in MANIFEST.to_json()  # readable with ls and cat


@pytest.mark.parametrize("found", [2, None])
def test_another_format_is_refused(found: int | None) -> None:
    content = json.loads(MANIFEST.to_json()) | {"format": found}
    with pytest.raises(StoreError, match=rf"here has manifest format {found}, .* reads 1; upgrade"):
        Manifest.from_json(json.dumps(content), where="here")


def test_a_view_asks_for_files_when_they_are_needed(tmp_path: Path) -> None:
    asked: list[str] = []

    def file(name: str) -> Path:
        asked.append(name)
        return tmp_path / name

    view = ArtifactView(MANIFEST, lambda: tmp_path, file)
    assert asked == []
    assert view.preview == tmp_path / PREVIEW_NAME
    assert asked == [PREVIEW_NAME]
    assert view.folder == tmp_path
