"""What all encoders keep: published sizes, the interface, options, saving and loading."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.encoders import build, load_encoder, load_state, random_encoder
from stages.learning.encoders.resnet50 import TwoBranchResNet
from stages.learning.standardisation import IMAGENET
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError, SchemaError

TINY = EncoderSpec(width=4)
NAMES = get_args(EncoderName)

# Parameters without classifier at width 64 (rspnet.md 4, ctp.md 4.1, fame.md 5, constcl.md 3;
# those of s3d and resnet50 are torchvision's).
PARAMETERS = {
    "c3d": 27_661_440,
    "i3d": 12_287_264,
    "r2plus1d18": 33_165_639,
    "r2plus1d18_torchvision": 31_300_125,
    "r2plus1d_vcop": 14_365_303,
    "r3d18": 33_166_272,
    "r3d18_hara": 33_203_904,
    "r3d18_torchvision": 33_166_272,
    "r3d50": 31_672_128,
    "resnet50": 25_557_032 - 2048 * 1000 - 1000,
    "s3d": 8_320_048 - 1024 * 400 - 400,
    "s3dg": 8_675_744,
    "s3dg_temporal": 8_675_744,
}
# Frames and side of a clip, and the published map.
MAPS = [
    ("c3d", 16, 112, (512, 2, 7, 7)),
    ("i3d", 16, 112, (1024, 2, 4, 4)),
    ("i3d", 16, 224, (1024, 2, 7, 7)),
    ("r2plus1d18", 16, 112, (512, 2, 7, 7)),
    ("r2plus1d18_torchvision", 16, 112, (512, 2, 7, 7)),
    ("r2plus1d_vcop", 16, 112, (512, 2, 7, 7)),
    ("r3d18", 16, 112, (512, 2, 7, 7)),
    ("r3d18_hara", 16, 112, (512, 1, 4, 4)),
    ("r3d18_torchvision", 16, 112, (512, 2, 7, 7)),
    ("r3d50", 16, 224, (2048, 8, 7, 7)),
    ("resnet50", 1, 224, (2048, 1, 7, 7)),
    ("s3d", 16, 224, (1024, 2, 7, 7)),
    ("s3dg", 16, 224, (1024, 2, 7, 7)),
    ("s3dg", 64, 224, (1024, 8, 7, 7)),
    ("s3dg_temporal", 64, 224, (1024, 8, 7, 7)),
]
# Batch normalisation: epsilon, momentum.
NORMS = {name: (1e-5, 0.1) for name in NAMES} | {
    "r3d18": (1e-3, 0.1),
    "r2plus1d18": (1e-3, 0.1),
    "s3d": (1e-3, 0.001),
    "s3dg": (1e-3, 0.001),
    "s3dg_temporal": (1e-3, 0.001),
}

every_name = pytest.mark.parametrize("name", NAMES)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@every_name
def test_parameter_count_is_the_published_one(name: EncoderName) -> None:
    with torch.device("meta"):
        assert count(build(EncoderSpec(name=name))) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "frames", "side", "shape"), MAPS)
def test_map_has_the_published_shape_and_the_declared_strides(
    name: EncoderName, frames: int, side: int, shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        encoder = build(EncoderSpec(name=name)).eval()
        found = encoder(torch.empty(2, 3, frames, side, side)).shape
    assert found == (2, *shape)
    assert encoder.out_channels == shape[0]
    assert math.ceil(frames / encoder.temporal_stride) == shape[1]
    assert math.ceil(side / encoder.spatial_stride) == shape[2]


@every_name
def test_width_scales_all_channels(name: EncoderName) -> None:
    with torch.device("meta"):
        published, half = (build(EncoderSpec(name=name, width=width)) for width in (64, 32))
    assert half.out_channels == published.out_channels / 2
    first, first_half = (
        next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm3d))
        for encoder in (published, half)
    )
    assert first_half.num_features == pytest.approx(first.num_features / 2, abs=1)
    assert count(half) == pytest.approx(count(published) / 4, rel=0.05)


@every_name
def test_normalisation(name: EncoderName) -> None:
    norms = [m for m in build(EncoderSpec(name=name, width=4)).modules() if "Norm" in str(type(m))]
    assert {(norm.eps, norm.momentum) for norm in norms} == {NORMS[name]}


@every_name
def test_memory_layout_does_not_change_the_map(name: EncoderName) -> None:
    encoder = random_encoder(EncoderSpec(name=name, width=4), seed=0).eval()
    clip = torch.randn(1, 3, 8, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = encoder(clip)
        encoder.to(memory_format=torch.channels_last_3d)
        last = encoder(clip.to(memory_format=torch.channels_last_3d))
    assert plain.std() > 1e-3 * plain.abs().max() > 0
    torch.testing.assert_close(plain, last, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@every_name
def test_every_parameter_gets_a_finite_gradient(
    name: EncoderName, layout: torch.memory_format
) -> None:
    encoder = random_encoder(EncoderSpec(name=name, width=4), seed=0).to(memory_format=layout)
    clip = torch.randn(2, 3, 8, 32, 32).to(memory_format=layout)
    encoder(clip).square().mean().backward()
    for label, parameter in encoder.named_parameters():
        assert parameter.grad is not None, label
        assert torch.isfinite(parameter.grad).all(), label


@pytest.mark.parametrize(
    ("options", "able"),
    [
        (
            {"last_spatial_stride": 1},
            {"r3d18", "r3d18_torchvision", "r2plus1d18", "r2plus1d18_torchvision", "r2plus1d_vcop"},
        ),
        ({"branches": 2}, {"r3d18", "r3d50"}),
    ],
    ids=["last_spatial_stride", "branches"],
)
@every_name
def test_an_encoder_without_the_form_names_those_with_it(
    name: EncoderName, options: dict[str, int], able: set[str]
) -> None:
    spec = EncoderSpec(name=name, width=4)
    if name in able:
        build(spec, **options)
        return
    with pytest.raises(ParameterError, match=f"encoder.name is '{name}'") as caught:
        build(spec, **options)
    assert {other for other in NAMES if repr(other) in str(caught.value)} == able | {name}


def test_unknown_options_and_values() -> None:
    with pytest.raises(ParameterError, match="dilation=2, as the method asks; no encoder can"):
        build(TINY, dilation=2)
    with pytest.raises(ParameterError, match="last_spatial_stride is 3: it must be 1 or 2"):
        build(TINY, last_spatial_stride=3)
    with pytest.raises(ParameterError, match="branches is 0: it must be 1 or 2"):
        build(EncoderSpec(name="r3d50", width=4), branches=0)


def test_random_encoder_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = random_encoder(TINY, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    second = random_encoder(TINY, seed=5).state_dict()
    other = random_encoder(TINY, seed=6).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def save(encoder: nn.Module, spec: EncoderSpec, folder: Path) -> EncoderFiles:
    torch.save(encoder.state_dict(), folder / "encoder.pt")
    EncoderFiles.describe(folder, spec.model_dump(mode="json"), **IMAGENET._asdict())
    return EncoderFiles.open(folder)


@every_name
def test_save_and_load(name: EncoderName, tmp_path: Path) -> None:
    spec = EncoderSpec(name=name, width=4)
    encoder = random_encoder(spec, seed=0)
    loaded = load_encoder(save(encoder, spec, tmp_path)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in encoder.state_dict().items())


def test_either_branch_of_a_pretraining_loads_as_one(tmp_path: Path) -> None:
    spec = EncoderSpec(name="r3d50", width=4)
    both = build(spec, branches=2).eval()
    assert isinstance(both, TwoBranchResNet)
    files = save(both, spec, tmp_path)
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        global_map, region_map = both.both_maps(clip)
        assert torch.equal(load_encoder(files).eval()(clip), global_map)
        assert torch.equal(load_encoder(files, branch="region").eval()(clip), region_map)


def test_parameters_of_earlier_artifacts_are_valid() -> None:
    assert EncoderSpec.model_validate({"name": "r3d18", "width": 4}) == TINY


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    files = save(build(TINY), EncoderSpec(width=8), tmp_path)
    with pytest.raises(SchemaError, match=r"encoder\.pt does not fit .*'width': 8"):
        load_encoder(files)


class Evil:
    def __reduce__(self) -> object:
        return (print, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SchemaError, match="no plain state dict"):
        load_state(path)
    assert capsys.readouterr().out == ""
