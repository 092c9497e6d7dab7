"""Maps of a classifier: where planted evidence lies, and what stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.stage import Context
from stages.evaluate.class_maps import ClassMaps, class_maps
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.presets import VIEWS
from stages.evaluate.recognition import Head, Recognition
from stages.learning.encoders import load_encoder
from stages.learning.objective import Objective
from storage_schemas.activation_maps import ActivationMaps
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError
from storage_schemas.labels import LabelRow, Labels

VIEW: dict[str, Any] = {"num_frames": 8, "size": 48, "num_videos": 3}


@pytest.fixture
def classifier(tiny_encoder: EncoderFiles) -> ClassifierFiles:
    """The tiny encoder with a linear layer of random weights, one row the other's negative."""
    channels = 32
    row = torch.randn(1, channels, generator=torch.Generator().manual_seed(1))
    state = {"weight": torch.cat([row, -row]), "bias": torch.tensor([0.1, -0.2])}
    torch.save(state, tiny_encoder.folder / "classifier.pt")
    method = Recognition(num_classes=2, mean=tuple(tiny_encoder.mean), std=tuple(tiny_encoder.std))
    ClassifierFiles.describe_classifier(
        tiny_encoder.folder,
        classes=["blue", "red"],
        method=method.model_dump(mode="json"),
        protocol="fine-tune",
        preset="",
        epoch=1,
        selection="last",
        test_accuracy={},
    )
    return ClassifierFiles.open(tiny_encoder.folder)


def made(stage: ClassMaps, folder: Path, **inputs: Any) -> ActivationMaps:
    found = stage.run(ctx=Context(work=folder, device="cpu"), **inputs)
    (folder / "artifact").mkdir()
    found.write(folder / "artifact")
    return ActivationMaps.open(folder / "artifact")


def test_maps_of_a_few_test_videos(
    classifier: ClassifierFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    stage = ClassMaps(**VIEW, num_clips=2)
    before = {p.name: p.read_bytes() for p in classifier.folder.glob("*.pt")}
    maps = made(stage, tmp_path, classifier=classifier, **colours)
    assert before == {p.name: p.read_bytes() for p in classifier.folder.glob("*.pt")}
    assert list(maps.videos) == ["00.mp4", "02.mp4", "05.mp4"], "spread over the test split"
    kinds = ["cam", "grad_cam", "guided_grad_cam"]
    for video_id, found in maps.videos.items():
        right = "red" if int(video_id[:2]) % 2 else "blue"
        assert [one.kind for one in found] == kinds * 2, "clip by clip"
        for cam, coarse, fine in (found[:3], found[3:]):
            assert cam.values_THW.shape == coarse.values_THW.shape == (1, 3, 3)
            assert fine.values_THW.shape == (8, 48, 48)
            # At the output Grad-CAM is the positive part of CAM over the number of cells.
            np.testing.assert_allclose(
                coarse.values_THW * 9, cam.values_THW.clip(0), rtol=1e-4, atol=1e-6
            )
            # The middle square of 48 x 64 frames.
            np.testing.assert_allclose(cam.view_xyxy, [8, 0, 56, 48])
            assert cam.text.endswith(f" %, is {right}")
        assert found[0].frames_F.tolist() == list(range(8))
        assert found[3].frames_F.tolist() == list(range(1, 9))
    inputs = {"classifier": classifier, **colours}
    assert stage.preview(maps, **inputs).ndim == 3
    assert stage.pictured(maps, **inputs) == list(maps.videos)
    assert stage.sheet("02.mp4", maps, **inputs).shape[0] == 4 * 130 + 3 * 4
    images, times = stage.film("02.mp4", maps, **inputs)
    assert len(list(images)) == len(times) == 8


def test_the_class_is_the_answer_or_the_label(
    classifier: ClassifierFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    """The rows of the layer are opposite, so that maps of the two classes are, too."""
    labels, shares = {}, {}
    for target in ("answer", "label"):
        stage = ClassMaps(**(VIEW | {"num_videos": 8}), kinds=("cam",), target=target)
        (tmp_path / target).mkdir()
        maps = made(stage, tmp_path / target, classifier=classifier, **colours)
        labels[target] = {video: one.values_THW for video, (one,) in maps.videos.items()}
        shares[target] = {video: one.text.split() for video, (one,) in maps.videos.items()}
    wrong = [v for v, (name, *_, right) in shares["answer"].items() if name != right]
    assert 0 < len(wrong) < 8, "the random layer answers one class only"
    for video, map_THW in labels["answer"].items():
        sign = -1 if video in wrong else 1
        np.testing.assert_allclose(labels["label"][video], sign * map_THW, rtol=1e-5)
        name, share, *_, right = shares["label"][video]
        assert name == right
        assert (float(share) < 50) == (video in wrong)


def test_an_unknown_label_is_named(
    classifier: ClassifierFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    labels = Labels(
        [LabelRow(r.video_id, f"dark {r.label}", r.split) for r in colours["labels"].rows]
    )
    context = Context(work=tmp_path, device="cpu")
    inputs = {"classifier": classifier, "shards": colours["shards"], "labels": labels}
    assert ClassMaps(**VIEW).run(ctx=context, **inputs).videos, "the answer is always known"
    with pytest.raises(ParameterError, match=r"'dark blue' is unknown.*class_maps\.target=answer"):
        ClassMaps(**VIEW, target="label").run(ctx=context, **inputs)


class RedCells(nn.Module):
    """An encoder of one channel: how much more red than blue there is in a cell."""

    out_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.AvgPool3d((2, 8, 8))
        self.colour = nn.Conv3d(3, 1, 1, bias=False)
        with torch.no_grad():
            self.colour.weight.copy_(torch.tensor([1.0, 0, -1]).view(1, 3, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.colour(self.cells(x)))


@pytest.mark.parametrize("layer", ["", "colour"])
def test_evidence_is_found_where_and_when_it_is(layer: str) -> None:
    """A red cell in the second half, a blue one that speaks against: exact maps."""
    method = Recognition(num_classes=2, mean=(0, 0, 0), std=(1, 1, 1))
    objective = Objective(method, RedCells()).eval()
    with torch.no_grad():
        objective.heads["classifier"].weight.copy_(torch.tensor([[-1.0], [2.0]]))
    clip = torch.full((1, 4, 24, 32, 3), 51, dtype=torch.uint8)
    clip[0, 2:, 8:16, 24:, 0] = 255
    clip[0, :, :8, :8, 2] = 255
    kinds = ("cam", "grad_cam", "guided_grad_cam")
    maps, _, _ = class_maps(objective, clip, kinds=kinds, layer=layer, wanted=1)
    expected = torch.zeros(1, 2, 3, 4)
    expected[0, 1, 1, 3] = 0.8
    torch.testing.assert_close(maps["cam"], 2 * expected)
    # At the layer before the ReLU only the red cell lets a gradient through.
    share = 1 / 24 if layer == "" else 1 / 24**2
    torch.testing.assert_close(maps["grad_cam"], 2 * share * expected)
    fine = maps["guided_grad_cam"][0]
    seen = fine[2:, 8:16, 24:]
    assert (seen > 0).all()
    assert fine.count_nonzero() == seen.numel()


def test_frozen_heads_and_unit_length_have_maps(tiny_encoder: EncoderFiles) -> None:
    method = Recognition(num_classes=3, frozen=True, head=Head(normalise=True))
    objective = Objective(method, load_encoder(tiny_encoder)).eval()
    clips = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    maps, classes, shares = class_maps(objective, clips, kinds=("grad_cam", "guided_grad_cam"))
    assert maps["guided_grad_cam"].shape == (2, 4, 32, 32)
    assert len(classes) == len(shares) == 2
    assert not any(p.grad is not None for p in objective.parameters())


@pytest.mark.parametrize("preset", VIEWS)
def test_presets_are_one_view_of_each_paper(preset: Any) -> None:
    stage, features = ClassMaps(preset=preset), ExtractFeatures(preset=preset)
    assert stage.num_views == 1
    for name in ("num_frames", "frame_stride", "size", "short_side", "long_side"):
        assert getattr(stage, name) == getattr(features, name)
