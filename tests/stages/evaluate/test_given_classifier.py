"""Classifiers from files: which layer, and which class an output stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.stage import Context
from stages.evaluate.finetune import load_classifier
from stages.evaluate.given_classifier import (
    GivenClassifier,
    linear_layer,
    output_classes,
    read_mapping,
)
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from stages.learning.encoders.torchvision_weights import to_torchvision
from storage_schemas.errors import SchemaError, StageFailed
from storage_schemas.labels import LabelRow, Labels

# Sizes of the nine classes among ImageNet's thousand: downstream.md section 9.
SIZES = (116, 52, 42, 36, 35, 27, 26, 20, 16)
NINE = [f"{i:02d}_class" for i in range(9)]
SPEC = EncoderSpec(name="resnet50", width=4)
LABELS = Labels([LabelRow(f"{name}.jpg", name, "test") for name in NINE])


def in_to_in9() -> dict[str, int]:
    """A file of the official shape: 630 of 1000 outputs are of no class."""
    numbers = [i for i, size in enumerate(SIZES) for _ in range(size)]
    return {str(i): number for i, number in enumerate([*numbers, *[-1] * 630])}


def test_the_official_mapping(tmp_path: Path) -> None:
    path = tmp_path / "in_to_in9.json"
    path.write_text(json.dumps(in_to_in9()))
    classes = output_classes(NINE, 1000, read_mapping(path))
    assert len(classes) == 1000
    assert [classes.count(name) for name in NINE] == list(SIZES)
    assert classes.count("") == 630


def test_classes_are_numbered_by_their_names() -> None:
    """A set that lacks some of the nine still calls the others by their numbers."""
    mapping = {0: 3, 1: 0, 2: 8, 3: -1}
    assert output_classes(["03_reptile", "08_fish"], 4, mapping) == [
        "03_reptile",
        "",
        "08_fish",
        "",
    ]
    assert output_classes(["cat", "dog"], 2, None) == ["cat", "dog"]
    with pytest.raises(SchemaError, match="5 outputs, 4 of them are mapped"):
        output_classes(NINE, 5, mapping)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_of_torchvision(tmp_path: Path, wrapped: bool) -> None:
    encoder = random_encoder(SPEC, seed=0).eval()
    torch.manual_seed(0)
    layer = torch.nn.Linear(encoder.out_channels, 1000)
    state: Any = to_torchvision("resnet50", encoder.state_dict())
    state |= {f"fc.{name}": value for name, value in layer.state_dict().items()}
    if wrapped:
        state = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(state, tmp_path / "model.pth")
    (tmp_path / "map.json").write_text(json.dumps(in_to_in9()))
    stage = GivenClassifier(
        weights=tmp_path / "model.pth", mapping=tmp_path / "map.json", encoder=SPEC
    )
    files = stage.run(labels=LABELS, ctx=Context(work=tmp_path))
    assert (files.names, files.protocol) == (NINE, "given classifier")
    objective = load_classifier(files).eval()
    clips = torch.randint(0, 256, (2, 1, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = objective.method.logits(objective, clips)  # type: ignore[attr-defined]
        pixels = clips.permute(0, 4, 1, 2, 3) / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (stage.mean, stage.std))
        expected = layer(encoder((pixels - mean) / std).mean((2, 3, 4)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"set given_classifier\.weights=FILE"):
        GivenClassifier().run(labels=LABELS, ctx=Context(work=tmp_path))
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "no_head.pth")
    with pytest.raises(SchemaError, match="no linear layer named fc, classifier, head"):
        linear_layer(tmp_path / "no_head.pth")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(SchemaError, match="is no JSON of output -> class"):
        read_mapping(tmp_path / "list.json")
