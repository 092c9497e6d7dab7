"""Our colour chain beside kornia's, as FAME's released code calls it, in one run.

``python benchmarks/colour.py`` needs kornia, which the project does not: install it with
``pip install --no-deps kornia kornia_rs``, best into an environment of its own that sees
this one.

Both draw their parameters at random; a round is several batches, and rounds are taken in
turns. Process CPU time, one thread, medians. A single operation is applied to every clip.
Before it, ways to blur are compared, which needs no kornia.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from stages.learning.colour import ColourLaw
from stages.learning.gaussian_blur import default_taps, gaussian_blur, gaussian_kernel
from stages.learning.photometric import augment

ROUNDS = 3
OFF = {"jitter_probability": 0.0, "grey_probability": 0.0, "blur_probability": 0.0}
NO_JITTER = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def kornia_chain(kornia: Any, *operations: Any) -> Callable[[Tensor], Tensor]:
    """The usual way: one video sequence, the same draw for the frames of a clip."""
    return kornia.VideoSequential(*operations, data_format="BCTHW", same_on_frame=True)


def cases(kornia: Any, side: int) -> list[tuple[str, ColourLaw, Callable[[Tensor], Tensor]]]:
    """Name, our law and kornia's operations."""
    taps = default_taps(side)

    def jitter(p: float, *strengths: float) -> Any:
        return kornia.ColorJitter(*strengths, p=p)

    def blur(p: float) -> Any:
        return kornia.RandomGaussianBlur((taps, taps), (0.1, 2.0), p=p)

    def only(**on: float) -> ColourLaw:
        return ColourLaw(**{**OFF, **on})

    return [
        (
            "chain: grey .2, jitter .8, blur .5",
            ColourLaw(),
            kornia_chain(
                kornia, kornia.RandomGrayscale(p=0.2), jitter(0.8, 0.4, 0.4, 0.4, 0.1), blur(0.5)
            ),
        ),
        ("jitter", only(jitter_probability=1), kornia_chain(kornia, jitter(1, 0.4, 0.4, 0.4, 0.1))),
        (
            "hue alone",
            only(jitter_probability=1, **(NO_JITTER | {"hue": 0.1})),
            kornia_chain(kornia, jitter(1, 0, 0, 0, 0.1)),
        ),
        ("grey", only(grey_probability=1), kornia_chain(kornia, kornia.RandomGrayscale(p=1.0))),
        ("blur", only(blur_probability=1), kornia_chain(kornia, blur(1.0))),
    ]


def grouped_convolution(images_BXHW: Tensor, *, sigma_B: Tensor, taps: int) -> Tensor:
    """Another way to blur one clip: every image is a channel of its own."""
    count = images_BXHW.shape[1]
    kernel = gaussian_kernel(sigma_B, taps)[0].expand(count, 1, -1)
    padded = functional.pad(images_BXHW, (taps // 2,) * 4, mode="reflect")
    rows = functional.conv2d(padded, kernel[:, :, None], groups=count)
    return functional.conv2d(rows, kernel[..., None], groups=count)


def matrix_products(images_BXHW: Tensor, *, sigma_B: Tensor, taps: int) -> Tensor:
    """Another way: rows of a band matrix hold the kernel, folded back at the edges."""
    side = images_BXHW.shape[-1]
    source = (torch.arange(side)[:, None] + torch.arange(taps) - taps // 2).abs()
    source = side - 1 - (side - 1 - source).abs()
    kernel = gaussian_kernel(sigma_B, taps).expand(side, -1)
    matrix = torch.zeros(side, side).scatter_add_(1, source, kernel)
    return matrix @ (images_BXHW.flatten(0, 2) @ matrix.T).view_as(images_BXHW)


def compare_blurs() -> None:
    """Print what one clip takes in each way."""
    table = Table("blur of one clip", "side", "ours, ms", "the other, ms", "ratio")
    for side in (112, 224):
        images = torch.rand(1, 48, side, side)
        blur: dict[str, Any] = dict(
            images_BXHW=images, sigma_B=torch.ones(1), taps=2 * (side // 10 // 2) + 1
        )
        for other in (grouped_convolution, matrix_products):
            torch.testing.assert_close(other(**blur), gaussian_blur(**blur), rtol=0, atol=1e-6)
            a, b = in_turns(
                lambda blur=blur: gaussian_blur(**blur),
                lambda blur=blur, other=other: other(**blur),
                batches=5,
            )
            table.add_row(
                other.__name__, str(side), f"{a * 1e3:.1f}", f"{b * 1e3:.1f}", f"{a / b:.2f}"
            )
    Console().print(table)


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], *, batches: int
) -> tuple[float, float]:
    """Median process CPU seconds of a batch of both, after one round that does not count."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for times, work in zip(found, (ours, theirs), strict=True):
            started = time.process_time()
            for _ in range(batches):
                work()
            times.append((time.process_time() - started) / batches)
    return statistics.median(found[0][1:]), statistics.median(found[1][1:])


def main() -> None:
    """Print both times and their ratio."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    compare_blurs()
    try:
        import kornia.augmentation as kornia
    except ImportError:
        sys.exit("kornia is not installed: pip install --no-deps kornia kornia_rs")
    rng = np.random.default_rng(0)
    table = Table("8 clips of 16 frames", "side", "ours, ms", "kornia, ms", "ratio")
    for side, batches in ((112, 4), (224, 1)):
        clips = torch.from_numpy(rng.random((8, 3, 16, side, side), dtype=np.float32))
        for name, law, peer in cases(kornia, side):
            ours, theirs = in_turns(
                lambda law=law, clips=clips: augment(clips, law, rng),
                lambda peer=peer, clips=clips: peer(clips),
                batches=batches,
            )
            table.add_row(
                name,
                str(side),
                f"{ours * 1e3:.0f}",
                f"{theirs * 1e3:.0f}",
                f"{ours / theirs:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
