"""Fine-tuning with the real trainer, and what a frozen encoder keeps bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.stage import Context
from stages.evaluate.clips import EvaluationViews
from stages.evaluate.finetune import Finetune, classify, load_classifier
from stages.evaluate.finetune_presets import FINETUNE
from stages.evaluate.recognise import Recognise
from stages.evaluate.stream import map_videos
from stages.learning.trainer import Trainer
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed
from storage_schemas.labels import LabelRow, Labels

SETTINGS: dict[str, Any] = {
    "clips": {"num_frames": 4, "size": 32},
    "optimisation": {
        "epochs": 3, "batch_size": 4, "learning_rate": 0.1, "milestones": [], "gradient_clip": None,
    },
}  # fmt: skip


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True))


def trained_in_process(stage: Finetune, context: Context, **inputs: Any) -> Trainer:
    trainer = Trainer(stage.train_spec(ctx=context, **inputs))
    trainer.run()
    return trainer


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_stays_bit_for_bit(
    tiny_encoder: EncoderFiles, colours: dict[str, Any], tmp_path: Path, frozen: bool
) -> None:
    """Weights and the statistics of batch normalisation: downstream.md 14.9."""
    stage = Finetune(frozen=frozen, **SETTINGS)
    context = Context(work=tmp_path, device="cpu")
    trained_in_process(stage, context, encoder=tiny_encoder, **colours)
    before, after = state_of(tiny_encoder.weights), state_of(tmp_path / "encoder.pt")
    assert before.keys() == after.keys()
    assert any(name.endswith("running_var") for name in before)
    same = {name: torch.equal(before[name], after[name]) for name in before}
    if frozen:
        assert all(same.values()), [name for name, equal in same.items() if not equal]
    else:
        assert not any(same.values()), [name for name, equal in same.items() if equal]


def test_from_encoder_to_metrics_with_the_epoch_chosen_on_test(
    tiny_encoder: EncoderFiles,
    colours: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In this process: what a child adds is tested where it is launched.
    monkeypatch.setattr("stages.evaluate.finetune.train", lambda spec, ctx: Trainer(spec).run())
    settings = {**SETTINGS, "optimisation": {**SETTINGS["optimisation"], "epochs": 25}}
    stage = Finetune(selection="best_on_test", evaluate_every=10, **settings)
    context = Context(work=tmp_path, device="cpu")
    output = stage.run(encoder=tiny_encoder, ctx=context, **colours)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    output.write(artifact)
    classifier = ClassifierFiles.open(artifact)
    assert list(classifier.classes) == ["blue", "red"]
    assert (classifier.protocol, classifier.selection) == ("fine-tune", "best_on_test")
    assert set(classifier.test_accuracy) == {"10", "20", "25"}, "and the last"
    best = max(classifier.test_accuracy.values())
    assert classifier.test_accuracy[str(classifier.epoch)] == best
    assert EncoderFiles.open(artifact).mean == tiny_encoder.mean, "it is an encoder, too"
    assert stage.preview(classifier).ndim == 3

    test = Recognise(num_clips=2, num_frames=4, size=32)
    metrics = test.run(classifier=classifier, ctx=context, **colours)
    top_1 = metrics.rows[0]
    assert (top_1.metric, top_1.value, top_1.n) == ("top-1", 1.0, 8)
    assert top_1.preset == "epoch chosen on test"
    (answers,) = metrics.answers
    assert list(answers.video_ids) == [f"{i:02d}.mp4" for i in range(8)]
    assert test.preview(metrics, classifier=classifier).ndim == 3

    # The weights are those of the chosen epoch: one clip gives the accuracy that chose it.
    views = EvaluationViews(num_clips=1, num_frames=4, size=32)
    right = []
    map_videos(
        {v: colours["shards"][v] for v in answers.video_ids}, views, ctx=context,
        network=classify(load_classifier(classifier)),
        done=lambda row, v, out: right.append(out["logits"].argmax() == int(v[:2]) % 2),
    )  # fmt: skip
    assert np.mean(right) == best


def test_snapshots_are_the_states_after_their_epochs(
    tiny_encoder: EncoderFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    context = Context(work=tmp_path, device="cpu")
    stage = Finetune(selection="best_on_test", evaluate_every=1, frozen=True, **SETTINGS)
    trainer = trained_in_process(stage, context, encoder=tiny_encoder, **colours)
    assert set(trainer.spec.snapshots()) == {1, 2, 3}
    states = [state_of(path) for path in trainer.spec.snapshots().values()]
    key = "heads.classifier.weight"
    assert not torch.equal(states[0][key], states[1][key])
    assert torch.equal(states[2][key], trainer.objective.state_dict()[key])


def test_only_training_videos_with_a_label_are_seen(
    tiny_encoder: EncoderFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    rows = [row for row in colours["labels"].rows if row.video_id != "15.mp4"]
    spec = Finetune(**SETTINGS).train_spec(
        encoder=tiny_encoder, shards=colours["shards"], labels=Labels(rows),
        ctx=Context(work=tmp_path, device="cpu"),
    )  # fmt: skip
    trainer = Trainer(spec)
    assert trainer.examples.video_ids == [f"{i:02d}.mp4" for i in range(8, 15)]
    assert trainer.examples.labels is not None
    assert trainer.examples.labels["09.mp4"] == 1
    torch.testing.assert_close(
        dict(trainer.objective.encoder.state_dict()), state_of(tiny_encoder.weights)
    )


def test_one_class_is_no_task(
    tiny_encoder: EncoderFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    rows = [LabelRow(row.video_id, "red", row.split) for row in colours["labels"].rows]
    with pytest.raises(StageFailed, match="8 training videos with frames and 1 classes"):
        Finetune(**SETTINGS).train_spec(
            encoder=tiny_encoder, shards=colours["shards"], labels=Labels(rows),
            ctx=Context(work=tmp_path),
        )  # fmt: skip


def test_handed_classes_are_never_mirrored(
    tiny_encoder: EncoderFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    names = {"red": "Moving left", "blue": "Moving right"}
    rows = [LabelRow(r.video_id, names[r.label], r.split) for r in colours["labels"].rows]
    inputs: dict[str, Any] = {
        "encoder": tiny_encoder, "shards": colours["shards"], "labels": Labels(rows),
        "ctx": Context(work=tmp_path),
    }  # fmt: skip
    with pytest.raises(StageFailed, match=r"'Moving left': set finetune.clips.flip_probability=0"):
        Finetune(**SETTINGS).train_spec(**inputs)
    clips = {**SETTINGS["clips"], "flip_probability": 0.0}
    assert Finetune(**{**SETTINGS, "clips": clips}).train_spec(**inputs).videos


@pytest.mark.parametrize("preset", FINETUNE)
def test_presets_are_valid_and_their_tests_fit_them(preset: Any) -> None:
    stage, test = Finetune(preset=preset), Recognise(preset=preset)
    assert stage.clips.num_frames == test.num_frames
    assert stage.clips.frame_stride == test.frame_stride
    assert (stage.clips.sampling == "cover") == (test.clip_rule == "cover")
    assert stage.frozen == ("linear" in preset)
    if stage.frozen:
        assert stage.optimisation.weight_decay == stage.head.dropout == 0
        assert stage.head.normalise
    assert json.loads(stage.model_dump_json())["preset"] == preset
    assert test.average == ("softmax" if "constcl" in preset else "logits")


@pytest.mark.parametrize(
    ("preset", "epoch", "rate"),
    [
        ("ctp", 59, 0.01), ("ctp", 60, 0.001), ("ctp", 149, 1e-4),
        ("fame_ucf101", 119, 0.0025), ("fame_linear", 60, 0.5), ("fame_linear", 80, 0.05),
        ("rspnet_hmdb51_r3d18", 29, 0.01), ("rspnet_ssv2", 20, 0.001), ("rspnet_ssv2", 40, 1e-4),
        ("rspnet_ucf101_c3d", 0, 0.005), ("previts_ucf101_s3dg", 0, 0.05),
        ("constcl_ucf101", 5, 0.72 * (1 + np.cos(np.pi * 0.1)) / 2), ("constcl_ucf101", 0, 0.0),
        ("ctp_ssv1", 0, 0.001),
    ],
)  # fmt: skip
def test_learning_rates_of_the_presets(preset: Any, epoch: int, rate: float) -> None:
    steps = 74
    optimisation = Finetune(preset=preset).optimisation
    found = optimisation.rate_at(epoch * steps, steps_per_epoch=steps)
    assert found == pytest.approx(rate, rel=1e-6)
