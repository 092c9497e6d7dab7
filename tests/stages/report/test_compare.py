"""Runs side by side: only what differs, and pictures of the same part beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.report.compare import Row, compare, render_comparison
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.manifest import PREVIEW_NAME, ArtifactView, FileEntry, Manifest
from storage_schemas.metrics import MetricRow, Metrics


def view(root: Path, step: str, key: str, **more: Any) -> ArtifactView:
    folder = root / key
    folder.mkdir(exist_ok=True)
    image = np.full((20, 70, 3), sum(key.encode()) % 256, np.uint8)
    (folder / PREVIEW_NAME).write_bytes(encode_jpeg(image, quality=80))
    values: dict[str, Any] = {
        "stage": step, "stage_version": 1, "parameters": {}, "inputs": {}, "items": ["a"],
        "noun": "boxes", "noun_version": 1, "part": "0000", "libraries": {"numpy": "2"},
        "files": {"boxes.arrow": FileEntry("0" * 64, 512, rows=more.pop("rows", 1))},
    }  # fmt: skip
    manifest = Manifest(key=key, step=step, **(values | more))
    return ArtifactView(manifest, lambda: folder, lambda name: folder / name)


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Sequence[ArtifactView]]:
    found: dict[str, Sequence[ArtifactView]] = {}
    for label, segments, value in (("a", 16, 0.25), ("b<i>", 64, 0.5)):
        knn = view(tmp_path, "knn", f"knn-{segments}", noun=Metrics.name, part=None)
        row = MetricRow("kNN", "pretrained", "test", "top-1", value, 8)
        Metrics([row]).write(knn.folder)
        found[label] = [
            view(tmp_path, "decode", "decode-0", parameters={"short_side": 240}),
            view(
                tmp_path, "slic", f"slic-{segments}", rows=100 * segments,
                parameters={"num_segments": segments, "same": 1, "colour": {"space": label}},
                libraries={"numpy": str(segments)}, code=f"git {segments}",
            ),
            knn,
        ]  # fmt: skip
    return found


def test_only_what_differs(runs: dict[str, Sequence[ArtifactView]]) -> None:
    found = compare(runs)
    assert (found.labels, found.shared, found.totals) == (["a", "b<i>"], 1, [3, 3])
    assert found.parameters == [
        Row("slic", "num_segments", ["16", "64"]),
        Row("slic", "colour.space", ["a", "b<i>"]),
    ]
    assert found.counts == [Row("slic", "rows of boxes.arrow", ["1,600", "6,400"])]
    assert found.versions == [
        Row("", "numpy", ["16, 2", "2, 64"]), Row("", "code", ["git 16", "git 64"])
    ]  # fmt: skip
    assert found.metrics == [
        Row("knn", "kNN, test, top-1, pretrained", ["25.0 %", "50.0 %"], "+25.0")
    ]
    assert found.pictures == []


def test_a_step_that_one_run_lacks(runs: dict[str, Sequence[ArtifactView]]) -> None:
    found = compare({"a": runs["a"], "less": runs["a"][:1]})
    assert Row("slic", "num_segments", ["16", ""]) in found.parameters
    assert found.metrics[0].values == ["25.0 %", ""]
    assert found.metrics[0].change == ""


def test_the_page_has_the_pictures_side_by_side(runs: dict[str, Sequence[ArtifactView]]) -> None:
    found = compare(runs, pictures=True)
    assert [title for title, _ in found.pictures] == ["slic · part 0000", "knn"]
    html = render_comparison(found)
    assert html.count("data:image/jpeg;base64,") == 4
    assert "b&lt;i&gt;" in html
    assert "b<i>" not in html
    assert "http" not in html
    less = compare({"a": runs["a"], "less": runs["a"][:1]}, pictures=True)
    assert "no picture" in render_comparison(less)
