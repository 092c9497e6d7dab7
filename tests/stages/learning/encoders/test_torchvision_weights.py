"""Names and shapes of torchvision's models, and torchvision itself where it can be imported."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.encoders import build
from stages.learning.encoders.torchvision_weights import from_torchvision, to_torchvision
from storage_schemas.errors import ParameterError, SchemaError

Shapes = dict[str, tuple[int, ...]]

TWINS = {
    "r3d18": "r3d_18",
    "r3d18_torchvision": "r3d_18",
    "r2plus1d18_torchvision": "r2plus1d_18",
    "s3d": "s3d",
    "resnet50": "resnet50",
}
every_twin = pytest.mark.parametrize("name", TWINS)


# What torchvision's models hold, written down from its source: an oracle of our names.


def conv(name: str, outputs: int, inputs: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, *kernel)}


def norm(name: str, channels: int) -> Shapes:
    shapes: Shapes = {f"{name}.{key}": (channels,) for key in ("weight", "bias")}
    shapes |= {f"{name}.{key}": (channels,) for key in ("running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def conv_norm(name: str, outputs: int, inputs: int, *kernel: int) -> Shapes:
    return conv(f"{name}.0", outputs, inputs, *kernel) | norm(f"{name}.1", outputs)


def linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def r3d_18() -> Shapes:
    shapes = conv_norm("stem", 64, 3, 3, 7, 7)
    for layer, channels in enumerate((64, 128, 256, 512), start=1):
        before = max(64, channels // 2)
        for block, inputs in enumerate((before, channels)):
            name = f"layer{layer}.{block}"
            shapes |= conv_norm(f"{name}.conv1", channels, inputs, 3, 3, 3)
            shapes |= conv_norm(f"{name}.conv2", channels, channels, 3, 3, 3)
        if layer > 1:
            shapes |= conv_norm(f"layer{layer}.0.downsample", channels, before, 1, 1, 1)
    return shapes | linear("fc", 400, 512)


def r2plus1d_18() -> Shapes:
    shapes = conv_norm("stem", 45, 3, 1, 7, 7) | conv("stem.3", 64, 45, 3, 1, 1)
    shapes |= norm("stem.4", 64)
    middles = {1: (144, 144), 2: (230, 288), 3: (460, 576), 4: (921, 1152)}
    for layer, channels in enumerate((64, 128, 256, 512), start=1):
        before = max(64, channels // 2)
        for block, inputs in enumerate((before, channels)):
            middle = middles[layer][block]
            for i, fan in ((1, inputs), (2, channels)):
                name = f"layer{layer}.{block}.conv{i}"
                shapes |= conv_norm(f"{name}.0", middle, fan, 1, 3, 3)
                shapes |= conv(f"{name}.0.3", channels, middle, 3, 1, 1)
                shapes |= norm(f"{name}.1", channels)
        if layer > 1:
            shapes |= conv_norm(f"layer{layer}.0.downsample", channels, before, 1, 1, 1)
    return shapes | linear("fc", 400, 512)


def s3d() -> Shapes:
    def separable(name: str, outputs: int, inputs: int, size: int) -> Shapes:
        first = conv_norm(f"{name}.0", outputs, inputs, 1, size, size)
        return first | conv_norm(f"{name}.1", outputs, outputs, size, 1, 1)

    shapes = separable("features.0", 64, 3, 7) | conv_norm("features.2", 64, 64, 1, 1, 1)
    shapes |= separable("features.3", 192, 64, 3)
    for layer, inputs, (b0, b1a, b1b, b2a, b2b, b3) in (
        (5, 192, (64, 96, 128, 16, 32, 32)),
        (6, 256, (128, 128, 192, 32, 96, 64)),
        (8, 480, (192, 96, 208, 16, 48, 64)),
        (9, 512, (160, 112, 224, 24, 64, 64)),
        (10, 512, (128, 128, 256, 24, 64, 64)),
        (11, 512, (112, 144, 288, 32, 64, 64)),
        (12, 528, (256, 160, 320, 32, 128, 128)),
        (14, 832, (256, 160, 320, 32, 128, 128)),
        (15, 832, (384, 192, 384, 48, 128, 128)),
    ):
        name = f"features.{layer}"
        shapes |= conv_norm(f"{name}.branch0", b0, inputs, 1, 1, 1)
        shapes |= conv_norm(f"{name}.branch1.0", b1a, inputs, 1, 1, 1)
        shapes |= separable(f"{name}.branch1.1", b1b, b1a, 3)
        shapes |= conv_norm(f"{name}.branch2.0", b2a, inputs, 1, 1, 1)
        shapes |= separable(f"{name}.branch2.1", b2b, b2a, 3)
        shapes |= conv_norm(f"{name}.branch3.1", b3, inputs, 1, 1, 1)
    return shapes | {"classifier.1.weight": (400, 1024, 1, 1, 1), "classifier.1.bias": (400,)}


def resnet50() -> Shapes:
    shapes = conv("conv1", 64, 3, 7, 7) | norm("bn1", 64)
    inputs = 64
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        filters = 32 * 2**layer
        shapes |= conv_norm(f"layer{layer}.0.downsample", 4 * filters, inputs, 1, 1)
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            shapes |= conv(f"{name}.conv1", filters, inputs, 1, 1) | norm(f"{name}.bn1", filters)
            shapes |= conv(f"{name}.conv2", filters, filters, 3, 3) | norm(f"{name}.bn2", filters)
            inputs = 4 * filters
            shapes |= conv(f"{name}.conv3", inputs, filters, 1, 1) | norm(f"{name}.bn3", inputs)
    return shapes | linear("fc", 1000, 2048)


MODELS = {"r3d_18": r3d_18, "r2plus1d_18": r2plus1d_18, "s3d": s3d, "resnet50": resnet50}
PUBLISHED = {
    "r3d_18": 33_371_472,
    "r2plus1d_18": 31_505_325,
    "s3d": 8_320_048,
    "resnet50": 25_557_032,
}


def empty(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("model", MODELS)
def test_the_oracle_has_torchvisions_number_of_parameters(model: str) -> None:
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    parameters = {k: v for k, v in empty(MODELS[model]()).items() if not k.endswith(buffers)}
    assert sum(value.numel() for value in parameters.values()) == PUBLISHED[model]


@every_twin
def test_every_entry_has_one_of_its_shape(name: EncoderName) -> None:
    theirs = MODELS[TWINS[name]]()
    with torch.device("meta"):
        encoder = build(EncoderSpec(name=name))
    encoder.load_state_dict(from_torchvision(name, empty(theirs)), assign=True)  # strict
    back = to_torchvision(name, encoder.state_dict())
    classifier = {key for key in theirs if key.startswith(("fc.", "classifier."))}
    assert {key: tuple(value.shape) for key, value in back.items()} == {
        key: shape for key, shape in theirs.items() if key not in classifier
    }


@every_twin
def test_there_and_back_keeps_every_value(name: EncoderName) -> None:
    state = build(EncoderSpec(name=name, width=4)).state_dict()
    back = from_torchvision(name, to_torchvision(name, state))
    assert list(back) == list(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_an_encoder_without_a_twin() -> None:
    with pytest.raises(ParameterError, match="'r3d50' has no twin in torchvision; those of"):
        to_torchvision("r3d50", {"stem.0.weight": torch.empty(0)})


def test_the_state_of_another_model() -> None:
    state = empty(r3d_18())
    del state["layer4.1.conv2.1.bias"]
    state["head.weight"] = torch.empty(0)
    with pytest.raises(SchemaError, match=r"1 entries .*'layer4.1.conv2.1.bias'.*'head.weight'"):
        from_torchvision("r3d18", state)


@every_twin
def test_torchvision_gives_the_same_map(name: EncoderName) -> None:
    model = torchvision_model(TWINS[name])
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    encoder = build(EncoderSpec(name=name)).eval()
    encoder.load_state_dict(from_torchvision(name, model.state_dict()))
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm3d) and name == "r3d18":
            layer.eps = 1e-5
    maps: list[Tensor] = []
    last = model.features if name == "s3d" else model.layer4
    last.register_forward_hook(lambda module, given, found: maps.append(found))
    if name == "s3d":
        model.avgpool = nn.AdaptiveAvgPool3d(1)  # its own asks for larger clips
    clip = torch.randn(1, 3, 1 if name == "resnet50" else 8, 64, 64)
    with torch.inference_mode():
        model.eval()(clip[:, :, 0] if name == "resnet50" else clip)
        ours = encoder(clip)
    theirs = maps[0][:, :, None] if name == "resnet50" else maps[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def torchvision_model(name: str) -> Any:
    """A model of torchvision with random weights; skips where it cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models = importlib.import_module("torchvision.models")
            video = importlib.import_module("torchvision.models.video")
    except Exception as error:  # not installed, or compiled for another torch
        pytest.skip(f"torchvision cannot be imported: {type(error).__name__}: {error}")
    return getattr(models if name == "resnet50" else video, name)()
