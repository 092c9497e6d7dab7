"""FAME's mask and merge beside a reconstruction of the released code, in one run.

``python benchmarks/fame.py`` prints the table, ``python benchmarks/fame.py --picture
docs/images/fame.jpg`` makes the picture of docs/methods/fame.md from the committed clips,
``python benchmarks/fame.py --truth [FOLDER]`` measures masks against truth: procedural videos and,
if a folder with the sequences TUD-Campus and TUD-Stadtmitte is given, people in a street.

The peer is *a reconstruction*: it does what fame.md section 9 says of the released code
(whole-batch passes over all pixels, one convolution for a blur, min-max passes whose result
only ranks are read of, an index list in Python for the scatter, a mask repeated for colours
and frames) and gives the same masks; the released file itself is not here.

Process CPU time, one thread, both in turns, medians.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from stages.learning.foreground import Foreground
from stages.learning.foreground_mask import foreground_masks, hue_saturation_value, merge

CLIPS = Path(__file__).parents[1] / "assets" / "clips"
ROUNDS = 15
PICTURED = ("box_a", "dog", "gymnast_cam03", "walker_a")


def reconstructed_mask(clips: Tensor, share: float = 0.5) -> Tensor:
    """Masks (B, H, W), float, the slow way."""
    batch, _, frames, height, width = clips.shape
    pixels = height * width
    difference = (clips[:, :, : frames - 1] - clips[:, :, 1:]).abs().sum(1).mean(1)
    motion = min_max(convolved(difference)).view(batch, pixels)
    hsv = hue_saturation_value(clips.mean(2))
    angle = 2 * math.pi * hsv[:, 0]
    a = (hsv[:, 1] * torch.cos(angle) + 1) / 2
    b = (hsv[:, 1] * torch.sin(angle) + 1) / 2
    parts = [torch.round(9 * u + 1).long() for u in (a, b, hsv[:, 2])]
    bins = (parts[0] + (parts[1] - 1) * 10 + (parts[2] - 1) * 100).view(batch, pixels)
    moving = motion.topk(int(0.5 * pixels)).indices
    still = motion.topk(int(0.1 * pixels), largest=False).indices
    ones = torch.ones(batch, pixels)
    moving_counts = torch.zeros(batch, 1001).scatter_add_(1, bins.gather(1, moving), ones)
    still_counts = torch.zeros(batch, 1001).scatter_add_(1, bins.gather(1, still), ones)
    moving_share = moving_counts / moving.shape[1]
    still_share = (still_counts + 1) / (still.shape[1] + 1000)
    p, q = moving_share.gather(1, bins), still_share.gather(1, bins)
    ratio = min_max(convolved((p / (p + q)).view(batch, height, width)))
    chosen = ratio.view(batch, pixels).topk(int(share * pixels)).indices
    rows = [i for i in range(batch) for _ in range(chosen.shape[1])]
    masks = torch.zeros(batch, pixels)
    masks[rows, chosen.reshape(-1).tolist()] = 1
    return masks.view(batch, height, width)


def reconstructed_merge(clips: Tensor, masks: Tensor, background: list[int]) -> Tensor:
    """Merged clips, with a mask as large as the clips."""
    full = masks[:, None, None].repeat(1, 3, clips.shape[2], 1, 1)
    return clips * full + clips[background] * (1 - full)


def convolved(images_BHW: Tensor) -> Tensor:
    """Separable Gaussian blur by convolution."""
    side = images_BHW.shape[-1]
    taps = 2 * (int(0.1 * side) // 2) + 1
    kernel = torch.exp(-0.5 * ((torch.arange(taps) - taps // 2) / (taps / 3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(images_BHW[:, None], (taps // 2,) * 4, mode="reflect")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]


def min_max(images_BHW: Tensor) -> Tensor:
    """Each image stretched to 0..1."""
    flat = images_BHW.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low + 1e-8)).view_as(images_BHW)


def frames_of(name: str) -> Any:
    """Frames of a committed clip, short side 128."""
    from stages.decode.decode import Decode
    from storage_schemas.videos import VideoFile

    path = CLIPS / f"{name}.mp4"
    return Decode(short_side=128).process(
        videos=VideoFile(path.name, "", path.stat().st_size, path)
    )


def real_clips(count: int, size: int) -> Tensor:
    """Clips (B, 3, 16, S, S) of the committed videos, as the method cuts them."""
    from stages.learning.pixels import to_unit
    from stages.learning.sample import Sample
    from stages.pretrain.methods.fame import FAME

    names = [path.stem for path in sorted(CLIPS.glob("*.mp4"))]
    views = [
        FAME(size=size, frame_stride=1).views(
            Sample(frames=frames_of(name)), np.random.default_rng(0)
        )["first"]
        for name in names[::2][:count]
    ]
    return to_unit(torch.from_numpy(np.stack(views)))


def in_turns(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median process CPU seconds of both, after one call that does not count."""
    found: list[tuple[float, ...]] = []
    for _ in range(ROUNDS + 1):
        pair = []
        for work in (ours, theirs):
            started = time.process_time()
            work()
            pair.append(time.process_time() - started)
        found.append(tuple(pair))
    return statistics.median(a for a, _ in found[1:]), statistics.median(b for _, b in found[1:])


def table() -> None:
    """Print both times and their ratio."""
    torch.set_num_threads(1)
    law, order = Foreground(), np.roll(np.arange(8), 1).tolist()
    lines = Table("8 real clips of 16 frames", "ours, ms", "reconstruction, ms", "ratio")
    for size in (112, 224):
        clips = real_clips(8, size)
        same = (foreground_masks(clips, law) == reconstructed_mask(clips).bool()).float().mean()
        for what, ours, theirs in (
            (
                f"mask, {size} px ({same:.2%} of pixels agree)",
                lambda clips=clips: foreground_masks(clips, law),
                lambda clips=clips: reconstructed_mask(clips),
            ),
            (
                f"mask and merge, {size} px",
                lambda clips=clips: merge(clips, foreground_masks(clips, law), order),
                lambda clips=clips: reconstructed_merge(clips, reconstructed_mask(clips), order),
            ),
        ):
            a, b = in_turns(ours, theirs)
            lines.add_row(what, f"{a * 1e3:.1f}", f"{b * 1e3:.1f}", f"{a / b:.2f}")
    Console().print(lines)


WAYS: dict[str, dict[str, Any]] = {
    "FAME, hue as released": {"hue": "reference"},
    "FAME, hue as intended": {"hue": "intended"},
    "motion alone": {"by": "motion"},
    "nearness to the centre": {"by": "centre"},
}
AREAS = (0.5, 0.3, 0.2)


def truth(streets: Path | None) -> None:
    """Print how much of what moves masks keep; nothing is tuned on these videos."""
    lines = Table("share of true pixels that masks keep", "clips", "ranked by")
    for area in AREAS:
        lines.add_column(f"area {area}")
    scenes = {f"procedural, camera {speed:g} px/frame": shapes(speed) for speed in (0.0, 1.0)}
    for path in sorted(streets.glob("TUD-*.mp4")) if streets else []:
        scenes[f"{path.stem}, people's boxes"] = street(path)
    for what, (clips, objects) in scenes.items():
        for name, way in WAYS.items():
            kept = []
            for area in AREAS:
                masks = foreground_masks(clips, Foreground.model_validate({**way, "area": area}))
                inside = (objects & masks[:, None]).sum((1, 2, 3)) / objects.sum((1, 2, 3))
                kept.append(f"{inside.mean():.2f}")
            lines.add_row(what, str(len(clips)), name, *kept)
    Console().print(lines)


def shapes(camera_speed: float) -> tuple[Tensor, Tensor]:
    """Procedural clips (B, 3, 16, 112, 112) and the pixels of their objects (B, T, H, W)."""
    from stages.sources.motion_shapes import MotionShapes

    source = MotionShapes(num_frames=16, size=112, camera_speed=camera_speed, train_per_class=10)
    scenes = [source.scene(row) for row in source.listing() if row.split == "train"]
    stored = torch.from_numpy(np.stack([scene.frames_THWC for scene in scenes]))
    objects = np.stack([scene.masks_KTHW.any(0) for scene in scenes])
    return stored.permute(0, 4, 1, 2, 3).float() / 255, torch.from_numpy(objects)


def street(path: Path) -> tuple[Tensor, Tensor]:
    """A street before a still camera as clips of every other frame, and boxes of people."""
    import av
    import cv2

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    boxes = np.zeros((len(frames), 112, 112), bool)
    for row in np.loadtxt(path.with_suffix(".txt"), delimiter=","):
        left, top, w, h = row[2:6] * np.array([112 / width, 112 / height] * 2)
        y, x = max(0, round(top)), max(0, round(left))
        boxes[int(row[0]) - 1, y : round(top + h), x : round(left + w)] = True
    pixels = np.stack([cv2.resize(f, (112, 112), interpolation=cv2.INTER_AREA) for f in frames])
    starts = range(0, len(frames) - 31, 8)
    clips, people = (np.stack([x[s : s + 31 : 2] for s in starts]) for x in (pixels, boxes))
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255, torch.from_numpy(people)


def picture(path: Path) -> None:
    """One row a clip: what FAME makes of it, at the middle frame."""
    from pipeline.pictures import caption, draw_mask, grid, stack
    from stages.learning.objective import Objective
    from stages.learning.photometric import augment
    from stages.learning.pixels import to_unit
    from stages.learning.sample import Sample
    from stages.pretrain.methods.fame import FAME
    from storage_schemas.jpeg import encode_jpeg

    method = FAME(colour=False, keep_own=False, crop_area=(0.8, 1.0), contrast={"queue_size": 1})
    views = [
        method.views(Sample(frames=frames_of(name)), np.random.default_rng(2)) for name in PICTURED
    ]
    first, second = (
        to_unit(torch.from_numpy(np.stack([view[name] for view in views])))
        for name in ("first", "second")
    )
    masks = foreground_masks(first, method.foreground)
    bare = Objective.__new__(Objective)  # merging without colours needs no weights
    merged = method.merge(bare, first, np.random.default_rng(0))
    law = method.colour_law.model_copy(update={"grey_probability": 0.0})
    coloured = [augment(c, law, np.random.default_rng(i)) for i, c in enumerate((merged, second))]

    def middle(clips: Tensor, i: int) -> NDArray[np.uint8]:
        image = clips[i, :, clips.shape[2] // 2].permute(1, 2, 0)
        return np.ascontiguousarray((image * 255).round().numpy().astype(np.uint8))

    columns = {
        "first view": [middle(first, i) for i in range(len(PICTURED))],
        "replaced": [
            draw_mask(middle(first, i), ~masks[i].numpy(), colour=(30, 60, 160), alpha=0.7)
            for i in range(len(PICTURED))
        ],
        "merged": [middle(merged, i) for i in range(len(PICTURED))],
        "with colours": [middle(coloured[0], i) for i in range(len(PICTURED))],
        "second view": [middle(coloured[1], i) for i in range(len(PICTURED))],
    }
    towers = [caption(stack(images), name) for name, images in columns.items()]
    path.write_bytes(encode_jpeg(grid(towers, columns=len(towers)), quality=85))


def main() -> None:
    """Print the table, or what is asked for instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="make the picture")
    parser.add_argument("--truth", nargs="?", const="", metavar="FOLDER", help="measure masks")
    options = parser.parse_args()
    if options.picture:
        picture(options.picture)
    elif options.truth is not None:
        truth(Path(options.truth) if options.truth else None)
    else:
        table()


if __name__ == "__main__":
    main()
