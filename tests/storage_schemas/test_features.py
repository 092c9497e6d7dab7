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


def values_of(number: int) -> dict[tuple[str, str], Any]:
    """A row of the writer."""
    return {
        ("pretrained", "gap"): np.full(4, number, np.float32),
        ("pretrained", "clips"): np.full((2, 4), number, np.float32),
    }


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
        writer.put(row, values_of(row))
    writer.features().write(artifact)
    read = Features.open(artifact)
    assert isinstance(read.vectors["pretrained"]["gap"], np.memmap)
    assert read.vectors["pretrained"]["gap"][:, 0].tolist() == [0, 1, 2]
    assert read.clip_vectors["pretrained"].shape == (3, 2, 4)
    assert set(read.vectors["pretrained"]) == {"gap"}
    name = "pretrained.gap.npy"
    assert (work / name).samefile(artifact / name)
    FeatureWriter(work, ["x"]).put(0, values_of(9))
    assert Features.open(artifact).vectors["pretrained"]["gap"][:, 0].tolist() == [0, 1, 2]


def test_rows_that_were_finished_before_a_kill_are_found_again(tmp_path: Path) -> None:
    ids = ["a", "b", "c"]
    killed = FeatureWriter(tmp_path, ids, identity="x", checkpoint_seconds=0)
    killed.put(1, values_of(1))
    killed._every = 1e9
    killed.put(2, values_of(2))  # after the last checkpoint
    again = FeatureWriter(tmp_path, ids, identity="x")
    assert again.finished == {1}
    for row in (0, 2):
        again.put(row, values_of(10 + row))
    features = again.features()
    assert features.vectors["pretrained"]["gap"][:, 0].tolist() == [10, 1, 12]
    assert features.clip_vectors["pretrained"][:, 1, 3].tolist() == [10, 1, 12]
    assert FeatureWriter(tmp_path, ids, identity="x").finished == {0, 1, 2}


def test_what_other_work_has_left_is_not_taken_up(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, ["a", "b"], identity="x", checkpoint_seconds=0)
    writer.put(0, values_of(1))
    mapped = writer.features().vectors["pretrained"]["gap"]
    for ids, identity in ((["a", "b"], "y"), (["a", "c"], "y"), (["a", "b"], "x")):
        other = FeatureWriter(tmp_path, ids, identity=identity, checkpoint_seconds=0)
        assert other.finished == set()
        other.put(1, values_of(7))
    assert mapped[:, 0].tolist() == [1, 0], "who maps the old file must not see the new one"


def test_a_row_that_is_not_finite_names_its_video(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, ["a.mp4", "b.mp4"])
    with pytest.raises(SchemaError, match=r"random/A: .*video 'b.mp4'"):
        writer.put(1, {("random", "A"): np.array([1, np.nan], np.float32)})
    assert writer.finished == set()


def test_vectors_of_clips_have_three_axes() -> None:
    with pytest.raises(SchemaError, match=r"pretrained/clips: shape \(2, 5\) for 2 videos"):
        Features(["a", "b"], {}, {"pretrained": np.zeros((2, 5), np.float32)})
