"""Contrast between regions of two views: ConST-CL's local half.

Shapes: B videos of this rank, G of all ranks, 2 views, N regions a view, C channels, M
context positions (frames x rows x columns).

References
----------
Yuan et al., *Contextualized Spatio-Temporal Contrastive Learning with Self-Supervision*,
CVPR 2022; details after constcl.md sections 4.2-4.4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.learning.distributed import gather, gather_constant, local_rows, world_size
from stages.learning.roi_align import roi_mean

_CODE = 8  # channels of the positional code for time, and as many for space
_NORM_EPS = 1e-6  # TensorFlow's 1e-12 is on the square


def context_frames(length: int, count: int) -> list[int]:
    """Frames of a feature map that serve as context, around its key frame ``length // 2``.

    Parameters
    ----------
    length : int
        Frames of the map.
    count : int
        How many, odd. A map that has fewer gives all it has.
    """
    if length < count:
        return list(range(length))
    step = length // count
    return [length // 2 + step * (i - count // 2) for i in range(count)]


def regions_and_context(
    maps_BCTHW: Tensor, boxes_BN4: Tensor, *, context: int, bins: int
) -> tuple[Tensor, Tensor]:
    """What the boxes hold in the key frame, and what surrounds it in time.

    Parameters
    ----------
    maps_BCTHW : Tensor
    boxes_BN4 : Tensor
        ``xyxy`` as fractions of the view.
    context : int
        See `context_frames`.
    bins : int
        Bins a side, with one sample at the centre of each.

    Returns
    -------
    regions_BNC : Tensor
        Mean of the samples.
    context_BCTHW : Tensor
        Frames of the map, each position of unit length.

    Notes
    -----
    A cell's coordinate is its index, without the half pixel that `roi_align` counts. Only
    the frames that are used are normalised.
    """
    frames = context_frames(maps_BCTHW.shape[2], context)
    key = frames.index(maps_BCTHW.shape[2] // 2)
    context_BCTHW = functional.normalize(maps_BCTHW[:, :, frames], dim=1, eps=_NORM_EPS)
    height, width = maps_BCTHW.shape[-2:]
    cells = torch.tensor([width, height] * 2, device=boxes_BN4.device)
    regions_BNC = roi_mean(
        context_BCTHW[:, :, key],
        boxes_BN4 * cells + 0.5,
        output_size=bins,
        spatial_scale=1.0,
        sampling_ratio=1,
    )
    return regions_BNC, context_BCTHW


class PositionalCode(nn.Module):
    """Learned code of a position's distance from the middle of the context, (M, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, _CODE))
        self.space = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, _CODE))

    def forward(self, context_BCTHW: Tensor) -> Tensor:
        """Codes of the context's positions, in the order of (T, H, W)."""
        frames, *sides = (
            torch.arange(n, device=context_BCTHW.device, dtype=context_BCTHW.dtype) - (n - 1) / 2
            for n in context_BCTHW.shape[2:]
        )
        grid_M3 = torch.cartesian_prod(frames, *sides)
        return torch.cat([self.time(grid_M3[:, :1]), self.space(grid_M3[:, 1:])], dim=1)


class CrossAttention(nn.Module):
    """Several full attention units side by side; queries do not see each other.

    A unit projects queries, keys and values to ``dim`` channels, adds what it reads to the
    projected query, normalises, and ends in a two-layer perceptron. Units are concatenated.

    Parameters
    ----------
    inputs, memory : int
        Channels of queries and of context positions.
    heads, dim : int
        Units and channels of each.

    Notes
    -----
    With few queries and many positions it is cheaper to carry keys and values over to the
    queries' side, by associativity: ``q (C W_k)^T = (q W_k^T) C^T`` and, rows of attention
    summing to 1, ``A (C W_v + b_v) = (A C) W_v + b_v``. No position is ever projected.
    """

    def __init__(self, inputs: int, memory: int, *, heads: int, dim: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.query = nn.Linear(inputs, heads * dim)
        self.key = nn.Linear(memory, heads * dim)
        self.value = nn.Linear(memory, heads * dim)
        self.norm = nn.GroupNorm(heads, heads * dim, eps=1e-12)  # a layer norm in each unit
        self.perceptron = nn.Sequential(
            nn.Conv1d(heads * dim, heads * dim, 1, groups=heads),
            nn.GELU(),
            nn.Conv1d(heads * dim, heads * dim, 1, groups=heads),
        )

    def forward(self, queries_BNX: Tensor, memory_BMC: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (B, N, heads * dim) and attention (B, heads, N, M)."""
        units = (self.heads, self.dim)
        query_BNX = self.query(queries_BNX)
        query_BNHD = query_BNX.unflatten(-1, units)
        key_HDC = self.key.weight.unflatten(0, units)
        lifted_BHNC = torch.einsum("bnhd,hdc->bhnc", query_BNHD, key_HDC)
        scores_BHNM = (lifted_BHNC.flatten(1, 2) @ memory_BMC.mT).unflatten(1, (self.heads, -1))
        bias_BHN = torch.einsum("bnhd,hd->bhn", query_BNHD, self.key.bias.unflatten(0, units))
        attention_BHNM = torch.softmax((scores_BHNM + bias_BHN[..., None]) / self.dim**0.5, dim=-1)
        read_BHNC = (attention_BHNM.flatten(1, 2) @ memory_BMC).unflatten(1, (self.heads, -1))
        value_HDC = self.value.weight.unflatten(0, units)
        value_BNX = torch.einsum("bhnc,hdc->bnhd", read_BHNC, value_HDC).flatten(2)
        units_KX = self.norm((value_BNX + self.value.bias + query_BNX).flatten(0, 1))
        out_KX = self.perceptron(units_KX[..., None]).squeeze(-1)
        return out_KX.unflatten(0, query_BNX.shape[:2]), attention_BHNM


class RegionDecoder(nn.Module):
    """Predict what a region looks like in another view, from that view's context.

    Parameters
    ----------
    channels : int
        Of the feature map.
    layers, heads, dim : int
        Of the attention.
    """

    def __init__(self, channels: int, *, layers: int, heads: int, dim: int) -> None:
        super().__init__()
        self.position = PositionalCode()
        self.layers = nn.ModuleList(
            CrossAttention(
                heads * dim if i else channels, channels + 2 * _CODE, heads=heads, dim=dim
            )
            for i in range(layers)
        )
        self.output = nn.Linear(heads * dim, channels)

    def forward(self, regions_BNC: Tensor, context_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (B, N, C) and the last layer's attention (B, heads, N, M)."""
        code_M16 = self.position(context_BCTHW)
        context_BMC = context_BCTHW.flatten(2).mT
        memory_BMC = torch.cat([context_BMC, code_M16.expand(len(context_BMC), -1, -1)], dim=-1)
        states = regions_BNC
        for layer in self.layers:
            states, attention_BHNM = layer(states, memory_BMC)
        return self.output(states), attention_BHNM


def region_loss(
    predicted_B2NC: Tensor, regions_B2NC: Tensor, valid_B2N: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Tell the region that a prediction stands for from the regions of other videos.

    Parameters
    ----------
    predicted_B2NC : Tensor
        For each region of a view, its prediction in the other view; of any length.
    regions_B2NC : Tensor
        The regions themselves, of both views.
    valid_B2N : Tensor, bool
        Which regions hold a box. Others are neither queries nor targets.
    temperature : float

    Returns
    -------
    loss : Tensor
        Mean over the valid regions of each view in the global batch, then over views.
    accuracy : Tensor
        Share of the valid regions that are nearer to their target than to any negative.

    Notes
    -----
    The target is the region of the other view, in the same video, that is most similar to
    the region itself; the other regions of that video are no negatives. No gradient is
    stopped: regions learn as targets, too.
    """
    with torch.autocast(predicted_B2NC.device.type, enabled=False):
        dtype = torch.promote_types(predicted_B2NC.dtype, torch.float32)
        unit_B2NC = functional.normalize(predicted_B2NC.to(dtype), dim=-1)
        own_B2NC = functional.normalize(regions_B2NC.to(dtype), dim=-1)
        targets_G2NC = gather(own_B2NC).flip(1)
        logits_B2NGN = torch.einsum("bvnc,gvkc->bvngk", unit_B2NC, targets_G2NC) / temperature
        with torch.no_grad():
            match_B2NN = own_B2NC @ own_B2NC.flip(1).mT
    target_valid_G2N = gather_constant(valid_B2N.byte()).bool().flip(1)
    mine = local_rows(len(valid_B2N))
    target_valid_B21N = target_valid_G2N[mine, :, None]
    target_B2N = match_B2NN.masked_fill(~target_valid_B21N, -torch.inf).argmax(-1)
    query_B2N = valid_B2N & target_valid_B21N.any(-1)

    # Of the own video, the target alone stays.
    batch, _, regions = valid_B2N.shape
    kept_B2NGN = target_valid_G2N.movedim(0, 1)[None, :, None].repeat(batch, 1, regions, 1, 1)
    row = torch.arange(batch, device=valid_B2N.device)
    video = row + mine.start
    chosen_B2NN = functional.one_hot(target_B2N, regions).bool()
    kept_B2NGN[row, :, :, video] = chosen_B2NN
    logits_KG = logits_B2NGN.masked_fill(~kept_B2NGN, -torch.inf).flatten(0, 2).flatten(1)
    answer_B2N = video[:, None, None] * regions + target_B2N
    losses_K = functional.cross_entropy(logits_KG, answer_B2N.flatten(), reduction="none")

    counted_B2N = query_B2N.to(dtype)
    totals_2 = gather_constant(counted_B2N.sum((0, 2))[None]).sum(0).clamp(min=1)
    sums_2 = (losses_K.view_as(counted_B2N) * counted_B2N).sum((0, 2))
    # Ranks are averaged, so each counts for as many as there are.
    loss = (sums_2 / totals_2).mean() * world_size()
    right_B2N = (logits_KG.detach().argmax(1) == answer_B2N.flatten()).view_as(query_B2N)
    accuracy = (right_B2N & query_B2N).sum() / query_B2N.sum().clamp(min=1)
    return loss, accuracy
