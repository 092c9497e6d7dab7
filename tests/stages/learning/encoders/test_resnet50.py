"""Bottleneck networks after constcl.md section 3 and previts.md sections 2 and 5."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stages.learning.encoders.resnet50 import TwoBranchResNet, one_branch, r3d50, resnet50
from storage_schemas.errors import ParameterError

# Of a 3 x 16 x 224 x 224 clip: channels, frames, side, parameters.
R3D50 = [
    (64, 8, 56, 47_168),
    (256, 8, 56, 215_808),
    (512, 8, 28, 1_219_584),
    (1024, 8, 14, 9_981_952),
    (2048, 8, 7, 20_207_616),
]
RESNET50 = [(64, 1, 56), (256, 1, 56), (512, 1, 28), (1024, 1, 14), (2048, 1, 7)]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def two_branches(width: int = 4) -> TwoBranchResNet:
    encoder = r3d50(width, branches=2)
    assert isinstance(encoder, TwoBranchResNet)
    return encoder


def test_r3d50_stages_have_the_published_shapes_and_sizes() -> None:
    with torch.device("meta"):
        encoder, x = r3d50(64).eval(), torch.empty(1, 3, 16, 224, 224)
    assert encoder.stem[0](x).shape == (1, 64, 8, 112, 112)
    for part, (channels, frames, side, parameters) in zip(
        (encoder.stem, *encoder.stages), R3D50, strict=True
    ):
        x = part(x)
        assert x.shape == (1, channels, frames, side, side)
        assert count(part) == parameters


def test_temporal_kernels() -> None:
    encoder = r3d50(4)
    kernels = [{block.conv1.kernel_size[0] for block in stage} for stage in encoder.stages]
    assert kernels == [{1}, {1}, {3}, {3}]
    assert [len(stage) for stage in encoder.stages] == [3, 4, 6, 3]
    assert all(
        conv.kernel_size[0] == 1 for conv in resnet50(4).modules() if isinstance(conv, nn.Conv3d)
    )


def test_resnet50_stages_have_the_published_shapes() -> None:
    with torch.device("meta"):
        encoder, x = resnet50(64).eval(), torch.empty(1, 3, 1, 224, 224)
    for part, (channels, frames, side) in zip(
        (encoder.stem, *encoder.stages), RESNET50, strict=True
    ):
        x = part(x)
        assert x.shape == (1, channels, frames, side, side)


def test_resnet50_encodes_each_frame_by_itself() -> None:
    encoder = resnet50(4).eval()
    clip = torch.randn(1, 3, 3, 64, 64)
    with torch.inference_mode():
        together = encoder(clip)
        alone = torch.cat([encoder(clip[:, :, t : t + 1]) for t in range(3)], 2)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.max()))


def test_two_branches_have_the_published_size_and_equal_maps() -> None:
    with torch.device("meta"):
        encoder = two_branches(64)
        maps = encoder.both_maps(torch.empty(2, 3, 16, 224, 224))
    assert count(encoder) == 51_879_744
    assert [m.shape for m in maps] == [(2, 2048, 8, 7, 7)] * 2


def test_the_plain_forward_pass_is_the_global_branch() -> None:
    encoder = two_branches().eval()
    clip = torch.randn(1, 3, 4, 64, 64)
    with torch.inference_mode():
        global_map, region_map = encoder.both_maps(clip)
        assert torch.equal(encoder(clip), global_map)
    assert not torch.equal(global_map, region_map)


def test_both_maps_need_one_pass_through_the_trunk() -> None:
    encoder = two_branches()
    passed: list[nn.Module] = []
    for part in (encoder.stem, *encoder.stages, encoder.region_stage):
        part.register_forward_hook(lambda module, *_: passed.append(module))
    encoder.both_maps(torch.randn(2, 3, 4, 32, 32))
    assert passed == [encoder.stem, *encoder.stages, encoder.region_stage]


@pytest.mark.parametrize("branch", [0, 1], ids=["global", "region"])
def test_a_branch_teaches_the_trunk_and_itself_alone(branch: int) -> None:
    encoder = two_branches()
    maps = encoder.both_maps(torch.randn(2, 3, 4, 32, 32))
    maps[branch].square().mean().backward()
    own = encoder.stages[3], encoder.region_stage
    for module, taught in ((own[branch], True), (own[1 - branch], False)):
        assert {p.grad is not None for p in module.parameters()} == {taught}
    for module in (encoder.stem, *encoder.stages[:3]):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


def test_one_branch_of_either_form() -> None:
    both, single = two_branches().state_dict(), r3d50(4).state_dict()
    assert one_branch(single, "global") == single
    for branch, prefix in (("global", "stages.3."), ("region", "region_stage.")):
        chosen = one_branch(both, branch)
        assert chosen.keys() == single.keys()
        key = "0.conv1.weight"
        assert chosen[f"stages.3.{key}"] is both[f"{prefix}{key}"]
        assert chosen[f"stages.2.{key}"] is both[f"stages.2.{key}"]


def test_no_region_branch_to_load() -> None:
    with pytest.raises(ParameterError, match="use branch 'global'"):
        one_branch(r3d50(4).state_dict(), "region")


def test_r3d50_starts_from_variance_scaling() -> None:
    weight = r3d50(16).stages[3][2].conv2.weight.detach()
    sigma = math.sqrt(1 / weight[0].numel())
    assert float(weight.std()) == pytest.approx(sigma, rel=0.02)
    assert float(weight.abs().max()) <= 2 / 0.8796 * sigma
