"""Size and speed of every encoder: ``python benchmarks/encoders.py [--width 16] [--train]``.

Milliseconds for a clip of 16 x 112 x 112 in a batch of 4, one thread, process CPU time, best
of several rounds taken in turns, so that a busy machine disturbs all alike. ``one`` is the
time of a clip alone over that in the batch: for few channels and one thread torch leaves
oneDNN. ``last`` is the time with channels last in memory over the plain one. Where torchvision
can be imported, its models of the same architecture run beside ours at their width, 64.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from typing import Any, get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.encoders import build, random_encoder

ROUNDS, BATCH = 3, 4
TWINS = {
    "r3d18_torchvision": ("torchvision.models.video", "r3d_18", ("avgpool", "fc")),
    "r2plus1d18_torchvision": ("torchvision.models.video", "r2plus1d_18", ("avgpool", "fc")),
    "s3d": ("torchvision.models.video", "s3d", ("avgpool", "classifier")),
}


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def best(works: list[Callable[[], object]]) -> list[float]:
    """Least seconds of each, taken in turns."""
    rounds = [[seconds(work) for work in works] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def step(encoder: nn.Module, clip: Tensor, *, train: bool) -> Callable[[], object]:
    """A forward pass in evaluation mode, or a forward and backward pass in training mode."""
    encoder.train(train)

    def work() -> None:
        with torch.inference_mode(not train):
            features = encoder(clip)
        if train:
            features.square().mean().backward()

    return work


def last(encoder: nn.Module) -> nn.Module:
    """The encoder with channels last in memory."""
    kept: Any = encoder
    return kept.to(memory_format=torch.channels_last_3d)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--train", action="store_true", help="forward and backward pass")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = torch.randn(BATCH, 3, 16, 112, 112)
    clips_last = clips.to(memory_format=torch.channels_last_3d)
    what = "forward + backward" if arguments.train else "forward"
    table = Table("name", "parameters at 64", f"at {arguments.width}", f"{what} ms", "one", "last")
    for name in get_args(EncoderName):
        spec = EncoderSpec(name=name, width=arguments.width)
        plain, other = random_encoder(spec, seed=0), last(random_encoder(spec, seed=0))
        with torch.device("meta"):
            published = sum(p.numel() for p in build(EncoderSpec(name=name)).parameters())
        batch, one, batch_last = best(
            [
                step(plain, clips, train=arguments.train),
                step(plain, clips[:1], train=arguments.train),
                step(other, clips_last, train=arguments.train),
            ]
        )
        size = sum(p.numel() for p in plain.parameters())
        table.add_row(
            name,
            f"{published:,}",
            f"{size:,}",
            f"{1e3 * batch / BATCH:.0f}",
            f"{one * BATCH / batch:.2f}",
            f"{batch_last / batch:.2f}",
        )
    Console().print(table)
    beside_torchvision(clips[:1], train=arguments.train)


def beside_torchvision(clip: Tensor, *, train: bool) -> None:
    """Ours over torchvision's, both at width 64."""
    table = Table("name", "ours ms", "torchvision ms", "ratio")
    for name, (module, model, head) in TWINS.items():
        try:
            theirs = getattr(importlib.import_module(module), model)()
        except Exception as error:  # not installed, or compiled for another torch
            Console().print(f"torchvision cannot be imported: {error}")
            return
        for part in head:
            setattr(theirs, part, nn.Identity())
        ours = random_encoder(EncoderSpec(name=name), seed=0)
        a, b = best([step(ours, clip, train=train), step(theirs, clip, train=train)])
        table.add_row(name, f"{1e3 * a:.0f}", f"{1e3 * b:.0f}", f"{a / b:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
