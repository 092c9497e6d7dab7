"""The evaluate recipe: any preset from the command line, and no torch to plan it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.graph import walk
from pipeline.overrides import apply_overrides
from stages.evaluate.finetune import Finetune
from stages.evaluate.finetune_presets import FINETUNE
from stages.evaluate.recognise import Recognise
from workflows import recipes


def stages_of(*settings: str) -> dict[str, Any]:
    steps = walk(apply_overrides(recipes.load("evaluate"), settings))
    return {step.name: step.stage for step in steps}


@pytest.mark.parametrize("preset", FINETUNE)
def test_a_preset_is_one_setting_a_stage(preset: Any) -> None:
    """The values of the recipe's own preset must not stay behind."""
    found = stages_of(f"finetune.preset={preset}", f"recognise.preset={preset}")
    assert found["finetune"] == Finetune(preset=preset)
    assert found["recognise"] == Recognise(preset=preset)


def test_a_value_by_name_wins_over_the_preset() -> None:
    found = stages_of("finetune.preset=fame_ucf101", "finetune.head.dropout=0.1")
    assert found["finetune"].head.dropout == 0.1
    assert found["finetune"].optimisation.learning_rate == 0.025


def test_features_follow_their_preset() -> None:
    assert stages_of("features.preset=constcl")["features"].num_views == 30


def test_weights_are_given_by_their_file(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "encoder.pth")
    settings = (
        f"given_encoder.weights={tmp_path / 'encoder.pth'}",
        "given_encoder.encoder.name=s3d",
    )
    stage = stages_of(*settings)["given_encoder"]
    assert stage.weights.path == tmp_path / "encoder.pth"
    assert stage.encoder.name == "s3d"
