"""Features: matrices in line with the videos, finite, mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage_schemas.errors import SchemaError
from storage_schemas.features import Features, FeatureWriter


def features(matrix: Any = None) -> Features:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((2, 5)).astype(np.float32) if matrix is None else matrix
    return Features(["ü #1.mp4", "b/c.mp4"], {"pretrained": {"A": a, "gap": a}, "random": {"A": a}})


def test_round_trip(tmp_path: Path) -> None:
    written = features()
    written.write(tmp_path)
    read = Features.open(tmp_path)
    assert list(read.video_ids) == list(written.video_ids)
    assert {name: set(poolings) for name, poolings in read.vectors.items()} == {
        "pretrained": {"A", "gap"}, "random": {"A"},
    }  # fmt: skip
    for name, poolings in written.vectors.items():
        for pooling, matrix in poolings.items():
            found = read.vectors[name][pooling]
            assert found.dtype == np.float32
            assert (found == matrix).all()
    assert repr(read) == "Features(2 videos, encoders ['pretrained', 'random'])"


@pytest.mark.parametrize("shape", [(3, 5), (2,), (2, 5, 1)])
def test_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match=r"pretrained/A: shape \(.*\) for 2 videos"):
        features(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_are_finite(value: float) -> None:
    matrix = np.zeros((2, 5), np.float32)
    matrix[1, 3] = value
    with pytest.raises(SchemaError, match="pretrained/A: features are not finite"):
        features(matrix)


def test_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(Features, "version", 3)
        features().write(tmp_path)
    with pytest.raises(SchemaError, match="features version 3 was written by a newer tubelet"):
        Features.open(tmp_path)


def test_rows_are_written_in_any_order_and_linked_not_copied(tmp_path: Path) -> None:
    work, artifact = tmp_path / "work", tmp_path / "artifact"
    work.mkdir()
    artifact.mkdir()
    writer = FeatureWriter(work, ["a", "b", "c"])
    for row in (2, 0, 1):
        writer.put(row, "pretrained", "gap", np.full(4, row, np.float32))
        writer.put(row, "pretrained", "clips", np.full((2, 4), row, np.float32))
    writer.features().write(artifact)
    read = Features.open(artifact)
    assert isinstance(read.vectors["pretrained"]["gap"], np.memmap)
    assert read.vectors["pretrained"]["gap"][:, 0].tolist() == [0, 1, 2]
    assert read.clip_vectors["pretrained"].shape == (3, 2, 4)
    assert set(read.vectors["pretrained"]) == {"gap"}
    name = "pretrained.gap.npy"
    assert (work / name).samefile(artifact / name)
    FeatureWriter(work, ["x"]).put(0, "pretrained", "gap", np.zeros(4, np.float32))
    assert Features.open(artifact).vectors["pretrained"]["gap"][:, 0].tolist() == [0, 1, 2]


def test_a_row_that_is_not_finite_names_its_video(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, ["a.mp4", "b.mp4"])
    with pytest.raises(SchemaError, match=r"random/A: .*video 'b.mp4'"):
        writer.put(1, "random", "A", np.array([1, np.nan], np.float32))


def test_vectors_of_clips_have_three_axes() -> None:
    with pytest.raises(SchemaError, match=r"pretrained/clips: shape \(2, 5\) for 2 videos"):
        Features(["a", "b"], {}, {"pretrained": np.zeros((2, 5), np.float32)})
