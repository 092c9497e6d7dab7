"""Where a training runs, and how its tensors lie there."""

from __future__ import annotations

import os

import torch
from torch import nn


def pick_device(name: str, local_rank: int) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name, local_rank) if name == "cuda" else torch.device(name)


def default_workers(devices: int) -> int:
    """Loader processes of each of several GPUs: the machine's cores, at most 8."""
    return min(8, max(1, (os.cpu_count() or 1) // devices))


def put_channels_last(module: nn.Module) -> None:
    """Lay out kernels channels last; convolutions then lay out what they put out so, too."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
