from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.scenes import SceneSpec, render
from benchmarks.tubes import measure
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from stages.track.backends.features import propagate
from stages.track.track import Track
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError, SchemaError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.pt"
    torch.save(random_encoder(EncoderSpec(width=8), seed=0).state_dict(), path)
    return path


def test_masks_are_propagated_from_the_best_frame(weights: Path) -> None:
    scene = render(SceneSpec(seed=3, num_frames=9, height=120, width=160))
    frames = scene.frames()
    plain = Track().process(frames=frames)
    stage = Track(backend={"name": "features", "weights": str(weights)})  # type: ignore[arg-type]
    boxes = stage.process(frames=frames)
    found = measure(boxes, scene)
    assert found.tubes == 1
    assert found.mask_iou > 0.5
    assert found.valid_precision == 1
    assert any(not np.array_equal(plain.mask(row), boxes.mask(row)) for row in range(len(boxes)))


def test_the_encoder_is_fed_as_it_was_trained(weights: Path, tmp_path: Path) -> None:
    EncoderFiles.describe(tmp_path, {}, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    (tmp_path / "log.jsonl").touch()
    (tmp_path / "views.png").touch()
    frames = render(SceneSpec(seed=3, num_frames=9, height=120, width=160)).frames()
    backend = {"name": "features", "weights": str(weights)}
    with pytest.raises(ParameterError, match=r"input of mean \[0.5, 0.5, 0.5\]"):
        Track(backend=backend).process(frames=frames)  # type: ignore[arg-type]
    told = backend | {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    boxes = Track(backend=told).process(frames=frames)  # type: ignore[arg-type]
    weights.with_name("encoder.json").unlink()
    others = Track(backend=backend).process(frames=frames)  # type: ignore[arg-type]
    assert any(not np.array_equal(boxes.mask(row), others.mask(row)) for row in range(len(boxes)))


def test_a_label_follows_its_features() -> None:
    torch.manual_seed(0)
    cells = torch.nn.functional.normalize(torch.randn(32, 8, 20), dim=0)
    film = torch.stack([torch.roll(cells, t, dims=2) for t in range(5)])
    label = np.zeros((32, 80), np.uint8)
    label[8:24, 8:24] = 1
    settings = {"context": 2, "neighbours": 1, "radius": 3, "temperature": 0.07}
    masks = propagate(film, label, **settings)  # type: ignore[arg-type]
    for t, mask in enumerate(masks):
        moved = np.roll(label, 4 * t, axis=1)
        assert (mask & moved).sum() / (mask | moved).sum() > 0.8


def test_a_file_that_holds_no_encoder_is_told(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(b"nothing")
    scene = render(SceneSpec(seed=3, num_frames=12, height=120, width=160))
    stage = Track(backend={"name": "features", "weights": str(path)})  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="no plain state dict"):
        stage.process(frames=scene.frames())


def test_weights_of_another_architecture_are_told(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    torch.save(random_encoder(EncoderSpec(name="c3d", width=8), seed=0).state_dict(), path)
    scene = render(SceneSpec(seed=3, num_frames=12, height=120, width=160))
    stage = Track(backend={"name": "features", "weights": str(path)})  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="holds no r3d18 encoder"):
        stage.process(frames=scene.frames())
