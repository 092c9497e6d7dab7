"""Size and speed of every encoder: ``python benchmarks/encoders.py [--width 16] [--train]``.

Milliseconds for a clip of 16 x 112 x 112 in a batch of 4, one thread, process CPU time, best
of several rounds taken in turns, so that a busy machine disturbs all alike. ``one`` is the
time of a clip alone over that in the batch: for few channels and one thread torch leaves
oneDNN. ``3d`` is the time with torch's three-dimensional convolutions over time in place of
ours, ``last`` that with channels last in memory. Where torchvision can be imported, its models
of the same architecture run beside ours at their width, 64.
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
from stages.learning.encoders.blocks import TimeConvolution

ROUNDS, BATCH = 3, 4
TWINS: dict[EncoderName, tuple[str, str]] = {
    "r3d18_torchvision": ("torchvision.models.video", "r3d_18"),
    "r2plus1d18_torchvision": ("torchvision.models.video", "r2plus1d_18"),
    "s3d": ("torchvision.models.video", "s3d"),
    "resnet50": ("torchvision.models", "resnet50"),
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


def three_dimensional(encoder: nn.Module) -> nn.Module:
    """The encoder with torch's own convolutions over time."""
    for module in encoder.modules():
        if type(module) is TimeConvolution:
            module.__class__ = nn.Conv3d
    return encoder


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--train", action="store_true", help="forward and backward pass")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    all_encoders(arguments.width, train=arguments.train)
    beside_torchvision(train=arguments.train)


def all_encoders(width: int, *, train: bool) -> None:
    """Size and speed of each, and what two choices of layout change."""
    clips = torch.randn(BATCH, 3, 16, 112, 112)
    clips_last = clips.to(memory_format=torch.channels_last_3d)
    what = "forward + backward" if train else "forward"
    table = Table("name", "parameters at 64", f"at {width}", f"{what} ms", "one", "3d", "last")
    for name in get_args(EncoderName):
        spec = EncoderSpec(name=name, width=width)
        plain = random_encoder(spec, seed=0)
        with torch.device("meta"):
            published = sum(p.numel() for p in build(EncoderSpec(name=name)).parameters())
        works = [
            step(plain, clips, train=train),
            step(plain, clips[:1], train=train),
            step(three_dimensional(random_encoder(spec, seed=0)), clips, train=train),
            step(last(random_encoder(spec, seed=0)), clips_last, train=train),
        ]
        batch, one, deep, batch_last = best(works)
        table.add_row(
            name,
            f"{published:,}",
            f"{sum(p.numel() for p in plain.parameters()):,}",
            f"{1e3 * batch / BATCH:.0f}",
            f"{one * BATCH / batch:.2f}",
            f"{deep / batch:.2f}",
            f"{batch_last / batch:.2f}",
        )
    Console().print(table)


def beside_torchvision(*, train: bool) -> None:
    """Ours over torchvision's, both at width 64, on one clip."""
    clip = torch.randn(1, 3, 16, 112, 112)
    images = clip[0].movedim(1, 0).contiguous()
    table = Table("name", "ours ms", "torchvision ms", "ratio")
    for name, (module, model) in TWINS.items():
        try:
            theirs = getattr(importlib.import_module(module), model)()
        except Exception as error:  # not installed, or compiled for another torch
            Console().print(f"torchvision cannot be imported: {error}")
            return
        for head in {"avgpool", "fc", "classifier"} & dict(theirs.named_children()).keys():
            setattr(theirs, head, nn.Identity())
        ours = random_encoder(EncoderSpec(name=name), seed=0)
        given = images if name == "resnet50" else clip
        a, b = best([step(ours, clip, train=train), step(theirs, given, train=train)])
        table.add_row(name, f"{1e3 * a:.0f}", f"{1e3 * b:.0f}", f"{a / b:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
