"""What is different with several processes; everything here is the identity with one.

Random draws of a step are made for the *global* batch from a generator that all ranks
share; a rank takes its rows with `local_rows`. So a training does not depend on how many
devices share the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes, 1 outside of ``torch.distributed.run``."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rows(batch: int) -> slice:
    """Rows of the global batch that this rank holds; `batch` is the local size."""
    return slice(rank() * batch, (rank() + 1) * batch)


def gather(rows_BD: Tensor) -> Tensor:
    """Rows of all ranks, in the order of the global batch; gradients flow back.

    The gradient of a rank's rows is the sum over all ranks' losses; DDP's average then
    gives the gradient of the mean loss over the global batch.
    """
    if world_size() == 1:
        return rows_BD
    gathered_GD: Tensor = _Gather.apply(rows_BD)  # type: ignore[no-untyped-call]
    return gathered_GD


class _Gather(torch.autograd.Function):
    """Gather, whose gradients are laid out in order before they are summed.

    `torch.distributed.nn.functional.all_gather` sends them as they lie in memory, and under
    gloo those of a transposed result come back scrambled.
    """

    @staticmethod
    def forward(ctx: Any, rows_BD: Tensor) -> Tensor:
        ctx.rows = local_rows(len(rows_BD))
        return gather_constant(rows_BD)

    @staticmethod
    def backward(ctx: Any, gradient_GD: Tensor) -> Tensor:
        total_GD = gradient_GD.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total_GD)
        return total_GD[ctx.rows]


@torch.no_grad()
def gather_constant(rows_BD: Tensor) -> Tensor:
    """`gather` without gradients."""
    if world_size() == 1:
        return rows_BD
    rows_BD = rows_BD.contiguous()
    parts = [torch.empty_like(rows_BD) for _ in range(world_size())]
    dist.all_gather(parts, rows_BD)
    return torch.cat(parts)


@torch.no_grad()
def encode_shuffled(
    encode: Callable[[Tensor], tuple[Tensor, ...]],
    clips_BCTHW: Tensor,
    generator: np.random.Generator,
) -> tuple[Tensor, ...]:
    """Encode with clips dealt out to the ranks at random, results in the old order.

    Batch normalisation would otherwise tell a query and its key apart from the other clips
    by the statistics that they share (MoCo, He et al. 2020, section 3.3).

    Parameters
    ----------
    encode : callable
        Clips -> tensors with one row a clip.
    clips_BCTHW : Tensor
    generator : numpy Generator
        The same on all ranks.
    """
    if world_size() == 1:
        return encode(clips_BCTHW)
    batch = len(clips_BCTHW)
    order = torch.from_numpy(generator.permutation(batch * world_size()))
    rows = local_rows(batch)
    shuffled = gather_constant(clips_BCTHW)[order[rows].to(clips_BCTHW.device)]
    back = torch.argsort(order).to(clips_BCTHW.device)
    return tuple(gather_constant(rows_BD)[back][rows] for rows_BD in encode(shuffled))
