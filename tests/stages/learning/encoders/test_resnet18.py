"""Basic-block networks after ctp.md 4.1, rspnet.md 4 and fame.md 5."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from stages.learning.encoders.blocks import ResNet, TwoBranchResNet
from stages.learning.encoders.resnet18 import (
    middle_channels,
    r2plus1d18,
    r2plus1d18_torchvision,
    r2plus1d_vcop,
    r3d18,
    r3d18_hara,
    r3d18_torchvision,
)
from stages.learning.encoders.resnet50 import one_branch
from storage_schemas.errors import ParameterError

STRIDE_8 = [(64, 16, 56), (64, 16, 56), (128, 8, 28), (256, 4, 14), (512, 2, 14)]
STRIDE_16 = [*STRIDE_8[:-1], (512, 2, 7)]
HARA = [(64, 8, 28), (64, 8, 28), (128, 4, 14), (256, 2, 7), (512, 1, 4)]
TWO_FORMS = [r3d18, r3d18_torchvision, r2plus1d18, r2plus1d18_torchvision, r2plus1d_vcop]

two_forms = pytest.mark.parametrize("make", TWO_FORMS)


def shapes(encoder: ResNet) -> list[tuple[int, ...]]:
    """Channels, frames and side after the stem and each stage of a 16 x 112 x 112 clip."""
    x = torch.empty(1, 3, 16, 112, 112, device="meta")
    found = []
    for part in (encoder.stem, *encoder.stages):
        x = part(x)
        assert x.shape[3] == x.shape[4]
        found.append(tuple(x.shape[1:4]))
    return found


@two_forms
def test_stages_have_the_published_shapes(make: Callable[..., ResNet]) -> None:
    with torch.device("meta"):
        assert shapes(make(64).eval()) == STRIDE_16
        assert shapes(make(64, last_spatial_stride=1).eval()) == STRIDE_8


def test_hara_pools_after_the_stem() -> None:
    with torch.device("meta"):
        encoder = r3d18_hara(64).eval()
        assert shapes(encoder) == HARA
    assert isinstance(encoder.stem[0], nn.Conv3d)
    assert encoder.stem[0].kernel_size == (7, 7, 7)


@two_forms
def test_both_forms_share_weights_and_differ_in_stride(make: Callable[..., ResNet]) -> None:
    pretraining, downstream = make(4, last_spatial_stride=1).eval(), make(4).eval()
    downstream.load_state_dict(pretraining.state_dict())
    assert (pretraining.spatial_stride, downstream.spatial_stride) == (8, 16)
    clip = torch.randn(1, 3, 8, 112, 112)
    with torch.inference_mode():
        assert pretraining(clip).shape == (1, 32, 1, 14, 14)
        assert downstream(clip).shape == (1, 32, 1, 7, 7)
        # The coarse form skips every second position, and computes the others alike.
        middle = pretraining.stages[:3](pretraining.stem(clip))
        fine, coarse = (form.stages[3][0].conv1(middle) for form in (pretraining, downstream))
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "expected"),
    [
        (64, 64, (3, 3, 3), 144),
        (64, 128, (3, 3, 3), 230),
        (128, 128, (3, 3, 3), 288),
        (3, 64, (3, 7, 7), 83),
        (64, 128, (1, 1, 1), 42),
        (128, 256, (1, 1, 1), 85),
        (256, 512, (1, 1, 1), 170),
    ],
)
def test_middle_channels(
    inputs: int, outputs: int, kernel: tuple[int, int, int], expected: int
) -> None:
    assert middle_channels(inputs, outputs, kernel) == expected


def middles(encoder: ResNet, block: tuple[int, int]) -> list[int]:
    stage, index = block
    found = encoder.stages[stage][index]
    return [conv[0].out_channels for conv in (found.conv1, found.conv2)]


def test_who_counts_which_channels_between_space_and_time() -> None:
    with torch.device("meta"):
        ctp, torchvision, vcop = r2plus1d18(64), r2plus1d18_torchvision(64), r2plus1d_vcop(64)
    assert [encoder.stem[0].out_channels for encoder in (ctp, torchvision, vcop)] == [45, 45, 83]
    for block, both in (((0, 0), 144), ((1, 1), 288)):
        assert middles(ctp, block) == middles(torchvision, block) == [both, both]
    assert middles(ctp, (1, 0)) == [230, 288]
    assert middles(torchvision, (1, 0)) == [230, 230]
    assert [len(stage) for stage in vcop.stages] == [1, 1, 1, 1]
    shortcuts = [stage[0].shortcut for stage in vcop.stages][1:]
    assert [shortcut[0][0].out_channels for shortcut in shortcuts] == [42, 85, 170]
    # CtP's shortcuts stay plain.
    assert isinstance(ctp.stages[1][0].shortcut[0], nn.Conv3d)


def test_torchvisions_r3d18_differs_from_ctps_by_epsilon_alone() -> None:
    ctp, torchvision = r3d18(4).eval(), r3d18_torchvision(4).eval()
    torchvision.load_state_dict(ctp.state_dict())
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        assert not torch.equal(ctp(clip), torchvision(clip))
        for layer in ctp.modules():
            if isinstance(layer, nn.BatchNorm3d):
                layer.eps = 1e-5
        assert torch.equal(ctp(clip), torchvision(clip))


def test_two_branches_start_apart_and_either_is_an_encoder() -> None:
    """The form in which ConST-CL pretrains on a small machine."""
    torch.manual_seed(0)
    both = r3d18(4, branches=2).eval()
    assert isinstance(both, TwoBranchResNet)
    clip = torch.randn(1, 3, 8, 32, 32)
    with torch.inference_mode():
        global_map, region_map = both.both_maps(clip)
        assert global_map.shape == region_map.shape == (1, 32, 1, 2, 2)
        assert not torch.allclose(global_map, region_map)
        assert torch.equal(both(clip), global_map)
        for branch, found in (("global", global_map), ("region", region_map)):
            single = r3d18(4).eval()
            single.load_state_dict(one_branch(both.state_dict(), branch))  # type: ignore[arg-type]
            assert torch.equal(single(clip), found)
    with pytest.raises(ParameterError, match="branches is 3: it must be 1 or 2"):
        r3d18(4, branches=3)
