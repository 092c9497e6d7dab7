"""Rows of two processes, and the way back of their gradients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from stages.learning.distributed import gather, local_rows

RANK = """
import os, sys, torch, torch.distributed as dist
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
import numpy as np
from stages.learning.distributed import encode_shuffled, gather, local_rows
everything = torch.arange(24.0).view(4, 2, 3)
mine = everything[local_rows(2)].clone().requires_grad_()
weights = torch.arange(24.0).view(4, 3, 2) ** 2
rows = gather(mine)
(rows.mT * weights).sum().backward()
assert torch.equal(rows.detach(), everything), rows
assert torch.equal(mine.grad, 2 * weights.mT[local_rows(2)]), mine.grad
# Keys are encoded where chance sends them, and come back to their rows.
clips = torch.arange(16.0).view(16, 1)
encoded = []
def encode(shuffled):
    encoded.append(shuffled.flatten())
    return 2 * shuffled, -shuffled
own = clips[local_rows(8)]
double, minus = encode_shuffled(encode, own, np.random.default_rng(0))
assert torch.equal(double, 2 * own) and torch.equal(minus, -own), (double, minus)
(here,) = encoded
strangers = len(set(here.tolist()) - set(own.flatten().tolist()))
assert 2 <= strangers <= 6, here
rows = gather(here)
assert torch.equal(rows.sort().values, clips.flatten()), rows
dist.barrier()
os._exit(0)
"""


def test_gradients_of_a_transposed_gather_find_their_rows(tmp_path: Path) -> None:
    """Gradients that are not contiguous: torch's own gather scrambles them under gloo."""
    command = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting")],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_one_process_changes_nothing() -> None:
    rows = torch.ones(2, 3)
    assert gather(rows) is rows
    assert local_rows(5) == slice(0, 5)
