"""``tubelet describe``: values, sources, and what the command line changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from storage_schemas.errors import ParameterError
from workflows.cli import app
from workflows.describe import describe


def sources(recipe: str, *settings: str, step: str = "pretrain") -> dict[str, tuple[Any, str]]:
    (found,) = (found for found in describe(recipe, settings) if found.step == step)
    return {constant.name: (constant.value, constant.source) for constant in found.constants}


def test_values_and_sources_of_a_recipe() -> None:
    found = sources("rspnet_kinetics400_s3dg")
    assert found["method"] == ("rspnet", "recipe")
    assert found["method.size"] == (224, "RSPNet code: config/pretrain")
    assert found["method.relative.temperature"][0] == 0.07
    assert found["optimisation.peak_rate"] == (0.2, "learning_rate * batch_size / rate_per")
    assert found["seed"] == (0, "tubelet")
    assert found["method.synchronised_batch_norm"][0] is False


def test_the_command_line_is_a_source_and_leaves_the_others() -> None:
    before = sources("rspnet_kinetics400_s3dg")
    after = sources("rspnet_kinetics400_s3dg", "pretrain.optimisation.epochs=2")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"optimisation.epochs"}
    assert after["optimisation.epochs"] == (2, "command line")


def test_another_source_chosen_on_the_command_line() -> None:
    settings = ("source=hmdb51", "hmdb51.split=2")
    found = sources("rspnet_kinetics400_c3d", *settings, step="hmdb51")
    assert found["split"] == (2, "command line")


def test_a_preset_chosen_on_the_command_line() -> None:
    found = sources("rspnet_kinetics400_c3d", "pretrain.method.preset=paper")
    assert found["method.preset"] == ("paper", "command line")
    assert found["method.relative.margin"] == (
        0.15,
        "RSPNet overview figure; PreViTS supplement (preset)",
    )
    assert found["method.relative.queue_size"] == (16384, "RSPNet code")


def test_a_preset_leaves_what_a_recipe_sets_otherwise() -> None:
    found = sources("fame_ucf101_i3d", "pretrain.method.preset=reference")
    assert found["method.contrast.queue_size"] == (2048, "FAME supplement: UCF101")
    assert found["method.contrast.reread_queue"] == (True, "FAME code: moco/builder.py (preset)")


def test_another_method_chosen_on_the_command_line() -> None:
    found = sources("ctp_tiny", "pretrain.method=moco")
    assert found["method"] == ("moco", "command line")
    assert found["method.num_frames"] == (8, "tubelet: two cores")  # the recipe's clips
    assert found["method.crop_area"] == ([0.2, 1.0], "FAME code: moco/loader.py")
    steps = [found.step for found in describe("ctp_tiny", ["pretrain.method=moco"])]
    assert "synthesize" not in steps


def test_a_whole_choice_given_on_the_command_line() -> None:
    found = sources("preprocess", 'detect.detector={"name": "hog", "upscale": 1.5}', step="detect")
    assert found["detector"] == ("hog", "command line")
    assert found["detector.upscale"] == (1.5, "command line")
    assert found["detector.stride"] == (8, "tubelet")


def test_what_has_no_effect_is_told() -> None:
    (found,) = (s for s in describe("fame_ucf101_i3d", []) if s.step == "pretrain")
    idle = {constant.name for constant in found.constants if constant.idle}
    assert {"optimisation.milestones", "optimisation.decay"} <= idle
    assert "optimisation.floor" not in idle


def test_the_command_prints_every_constant_and_json() -> None:
    runner = CliRunner()
    text = runner.invoke(app, ["describe", "ctp_ucf101"], env={"COLUMNS": "160"})
    assert text.exit_code == 0, text.output
    assert "pretrain v3, reads shard, ucf101_split, ucf101_labels, synthesize" in text.output
    given = runner.invoke(app, ["describe", "ctp_ucf101", "--json"])
    (pretrain,) = (step for step in json.loads(given.output) if step["step"] == "pretrain")
    assert pretrain["reads"]["trajectories"] == ["synthesize"]
    assert {
        "name": "method.centre_scale",
        "value": 0.8,
        "source": "CtP code: ctp_head.py",
        "idle": False,
    } in pretrain["constants"]
    for constant in pretrain["constants"]:
        assert constant["name"] in text.output


def test_a_misspelt_setting_is_answered() -> None:
    with pytest.raises(ParameterError, match="did you mean 'epochs'"):
        describe("ctp_ucf101", ["pretrain.optimisation.epoch=3"])


def test_a_default_of_unknown_source_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_method.py").write_text(
        "from stages.learning.method import Method\n\n\n"
        "class Toy(Method, version=1):\n    num_frames: int = 4\n    strength: float = 2.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = sources("ctp_tiny", "pretrain.method=toy_method")
    assert found["method.strength"] == (2.0, "not named")
    assert found["method.num_frames"] == (8, "tubelet: two cores")
