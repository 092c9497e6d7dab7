"""ConST-CL's heads beside their formulas written down literally, in one run, one thread.

``python benchmarks/constcl_heads.py`` prints milliseconds of process CPU time for a forward
and a backward pass at the published sizes: 2 videos, 8 regions a view, maps 8x7x7 of 2048
channels. Both must give the same numbers.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from stages.learning.region_contrast import CrossAttention, RegionDecoder, region_loss
from stages.learning.roi_align import roi_align, roi_mean

ROUNDS = 7
Work = Callable[[], Tensor]


def literal_layer(layer: CrossAttention, x_BNX: Tensor, memory_BMC: Tensor) -> tuple[Tensor, None]:
    """A layer that projects every position of the memory to keys and values."""
    units = (layer.heads, layer.dim)
    query_BNX = layer.query(x_BNX)
    query, key, value = (
        rows.unflatten(-1, units).transpose(1, 2)
        for rows in (query_BNX, layer.key(memory_BMC), layer.value(memory_BMC))
    )
    attention = torch.softmax(query @ key.mT / math.sqrt(layer.dim), -1)
    state_BNX = (attention @ value).transpose(1, 2).flatten(2) + query_BNX
    out_KX = layer.perceptron(layer.norm(state_BNX.flatten(0, 1))[..., None]).squeeze(-1)
    return out_KX.unflatten(0, query_BNX.shape[:2]), None


def literal_decoder(decoder: RegionDecoder, regions: Tensor, context: Tensor) -> Tensor:
    """The decoder with `literal_layer`."""
    code = decoder.position(context).expand(len(context), -1, -1)
    memory_BMC = torch.cat([context.flatten(2).mT, code], -1)
    states = regions
    for layer in decoder.layers:
        assert isinstance(layer, CrossAttention)
        states, _ = literal_layer(layer, states, memory_BMC)
    out: Tensor = decoder.output(states)
    return out


def literal_loss(predicted_B2NC: Tensor, regions_B2NC: Tensor) -> Tensor:
    """The loss of regions, one instance after the other."""
    z, h = functional.normalize(predicted_B2NC, dim=-1), functional.normalize(regions_B2NC, dim=-1)
    videos, _, count, _ = z.shape
    losses = []
    for view in (0, 1):
        for i in range(videos):
            others = torch.cat([h[p, 1 - view] for p in range(videos) if p != i])
            for n in range(count):
                near = int((h[i, 1 - view] @ h[i, view, n]).argmax())
                targets = torch.cat([h[i, 1 - view, near : near + 1], others])
                losses.append(-torch.log_softmax(targets @ z[i, view, n] / 0.2, 0)[0])
    return torch.stack(losses).mean()


def milliseconds(work: Work, leaves: list[Tensor]) -> float:
    """CPU time of a forward and a backward pass."""
    started = time.process_time()
    torch.autograd.grad(work().sum(), leaves)
    return 1000 * (time.process_time() - started)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = RegionDecoder(2048, layers=3, heads=3, dim=128)
    context = functional.normalize(torch.randn(4, 2048, 5, 7, 7), dim=1).requires_grad_()
    regions = torch.randn(4, 8, 2048, requires_grad=True)
    key_map = torch.randn(4, 2048, 7, 7, requires_grad=True)
    low = torch.rand(4, 8, 2) * 4
    boxes = torch.cat([low, low + 0.5 + 2 * torch.rand(4, 8, 2)], -1)
    rois = torch.cat([torch.arange(4.0).repeat_interleave(8)[:, None], boxes.flatten(0, 1)], 1)
    roi = {"output_size": 4, "spatial_scale": 1.0, "sampling_ratio": 1}
    many = [torch.randn(32, 2, 8, 2048, requires_grad=True) for _ in range(2)]
    valid = torch.ones(32, 2, 8, dtype=torch.bool)
    cases: dict[str, tuple[Work, Work, list[Tensor]]] = {
        "decoder, 4 clips": (
            lambda: decoder(regions, context)[0],
            lambda: literal_decoder(decoder, regions, context),
            [regions, context, *decoder.parameters()],
        ),
        "regions, 4 clips": (
            lambda: roi_mean(key_map, boxes, **roi),  # type: ignore[arg-type]
            lambda: roi_align(key_map, rois, **roi).mean((2, 3)).unflatten(0, (4, 8)),  # type: ignore[arg-type]
            [key_map],
        ),
        "loss, 32 videos": (
            lambda: region_loss(*many, valid, temperature=0.2)[0],  # type: ignore[misc]
            lambda: literal_loss(*many),  # type: ignore[call-arg]
            many,
        ),
    }
    table = Table("what", "ours, ms", "literal, ms", "ours / literal")
    for name, (ours, literal, leaves) in cases.items():
        torch.testing.assert_close(ours(), literal(), rtol=1e-3, atol=1e-5)
        pairs = [(milliseconds(ours, leaves), milliseconds(literal, leaves)) for _ in range(ROUNDS)]
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        table.add_row(name, f"{a:.1f}", f"{b:.1f}", f"{a / b:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
