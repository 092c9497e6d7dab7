"""What single methods claim, measured on held-out videos.

Used by ``benchmarks/results.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from small_trainings import Data
from torch import Tensor, nn
from torch.nn import functional

from stages.learning.box_iou import box_iou
from stages.learning.data import Examples
from stages.learning.pixels import normalise
from stages.learning.region_contrast import regions_and_context
from stages.learning.trainer import Trainer
from stages.learning.views import ResizedCrop
from storage_schemas.dataset import Dataset
from workflows.tiny import AREA, FRAMES, SIZE, STRIDE

CHOICES = 8  # boxes, or videos, that an object is looked for in


def held_out(trainer: Trainer, data: Data) -> dict[str, float]:
    """What the method logs, on test videos, statistics of batches as in training."""
    annotations = {"tubes": [data.folder / "tubes"], "trajectories": [data.folder / "other_bank"]}
    method = trainer.objective.method
    objective = trainer.objective.train()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    steps = []
    for batch, generator in batches(
        Examples(
            method,
            [data.folder / "shards"],
            {role: annotations[role] for role in method.reads()},
            seed=0,
            videos=data.videos("test"),
        )
    ):
        with torch.no_grad():
            step = objective(batch, generator)
        steps.append({"loss": float(step.loss)} | {k: float(v) for k, v in step.metrics.items()})
    objective.load_state_dict(before)
    return means(steps)


def batches(
    examples: Examples, *, size: int = 32
) -> list[tuple[dict[str, Tensor], np.random.Generator]]:
    """All examples once, with the generators that their steps draw from."""
    made = []
    for i, first in enumerate(range(0, len(examples) - size + 1, size)):
        rows = [examples[0, index] for index in range(first, first + size)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        made.append((batch, np.random.default_rng(i)))
    return made


def triplets(data: Data) -> Iterator[list[NDArray[np.uint8]]]:
    """Of each held-out video two clips at one speed, then one at another.

    Half of the queries are slow, half are fast; the slower clips are consecutive frames.
    """
    rng = np.random.default_rng(0)
    for i, video_id in enumerate(data.videos("test")):
        video = data.shards[video_id]
        strides = [1, 1, STRIDE] if i % 2 else [STRIDE, STRIDE, 1]
        starts = [rng.integers(len(video) - (FRAMES - 1) * stride) for stride in strides]
        yield [
            video.decode(start + stride * np.arange(FRAMES))
            for start, stride in zip(starts, strides, strict=True)
        ]


@torch.no_grad()
def speed_order(encoder: nn.Module, data: Data, head: nn.Module | None = None) -> float:
    """Share of `triplets` in which the two clips of one speed are the nearer ones.

    By the cosine of averaged features, or of what a `head` makes of them.
    """
    right = []
    for clips in triplets(data):
        clips_BTHWC = np.stack([whole(clip) for clip in clips])
        maps = encoder(normalise(torch.from_numpy(clips_BTHWC)))
        vectors = maps.mean((2, 3, 4)) if head is None else head(maps)
        query, same, other = functional.normalize(vectors, dim=1)
        right.append(float(query @ same > query @ other))
    return float(np.mean(right))


def whole(clip_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole frame at the size of a view."""
    height, width = clip_THWC.shape[1:3]
    return ResizedCrop(0, 0, height, width, SIZE, flip=False).apply(clip_THWC)


@torch.no_grad()
def found_again(
    encoder: nn.Module, data: Data, decoder: nn.Module | None = None, *, size: int = SIZE
) -> dict[str, float]:
    """How often the object of a held-out video is found in another view.

    ``place`` is the share found among `CHOICES` boxes of that view, the others of the
    object's size and overlapping it by less than 0.3; ``video`` the share found among the
    objects of `CHOICES` videos. The views lie apart in time and are cut and mirrored as in
    training. The object of the first view, or what the `decoder` expects of it in the
    other, is compared by cosine.
    """
    rng = np.random.default_rng(0)
    truth = Dataset.open(data.folder).truth
    wanted, offered = [], []
    for video_id, video in data.shards.items():
        known = truth[video_id]
        clips, places = [], []
        for start in (0, len(video) - (FRAMES - 1) * STRIDE - 1):
            indices = start + STRIDE * np.arange(FRAMES)
            crop = ResizedCrop.sample(
                rng, height=video.height, width=video.width, size=size, area=AREA
            )
            clips.append(np.ascontiguousarray(crop.apply(video.decode(indices))))
            middle = known.xyxy[known.frame == indices[FRAMES // 2]]
            places.append(crop.apply_boxes(middle)[0])
        if any((place[2:] - place[:2]).min() < size / 16 for place in places):
            continue  # cut off
        boxes_2N4 = np.stack([np.tile(places[0], (CHOICES, 1)), choices(rng, places[1], size=size)])
        pixels = normalise(torch.from_numpy(np.stack(clips)))
        two = hasattr(encoder, "region_stage")
        maps = encoder.both_maps(pixels)[1] if two else encoder(pixels)  # type: ignore[operator]
        (first_NC, second_NC), context = regions_and_context(
            maps, torch.from_numpy(boxes_2N4).float() / size, context=5, bins=4
        )
        query_C = first_NC[0]
        if decoder is not None:
            query_C = decoder(query_C[None, None], context[1:])[0][0, 0]
        wanted.append(query_C)
        offered.append(second_NC)
    queries_VC = functional.normalize(torch.stack(wanted), dim=1)
    offers_VNC = functional.normalize(torch.stack(offered), dim=2)
    place_VN = torch.einsum("vc,vnc->vn", queries_VC, offers_VNC)
    objects_VV = queries_VC @ offers_VNC[:, 0].T
    others = (torch.arange(len(wanted))[:, None] + torch.arange(CHOICES)) % len(wanted)
    return {
        "place": float((place_VN.argmax(1) == 0).float().mean()),
        "video": float((objects_VV.gather(1, others).argmax(1) == 0).float().mean()),
    }


def choices(
    rng: np.random.Generator, box_4: NDArray[np.float32], *, size: int
) -> NDArray[np.float32]:
    """The box, then others of its size elsewhere in the view, (`CHOICES`, 4)."""
    width, height = box_4[2:] - box_4[:2]
    boxes = [box_4]
    while len(boxes) < CHOICES:
        left, top = rng.uniform(0, size - width), rng.uniform(0, size - height)
        other = np.array([left, top, left + width, top + height], np.float32)
        pair = torch.from_numpy(np.stack([box_4, other]))[:, None, None]
        if float(box_iou(pair[0], pair[1])) < 0.3:
            boxes.append(other)
    return np.stack(boxes)


def ctp_iou(trainer: Trainer, data: Data) -> tuple[float, float]:
    """Mean IoU of boxes on test videos with other trajectories: found, and standing still."""
    objective = trainer.objective.eval()
    examples = Examples(
        objective.method,
        [data.folder / "shards"],
        {"trajectories": [data.folder / "other_bank"]},
        seed=0,
        videos=data.videos("test"),
    )
    found = []
    for batch, generator in batches(examples):
        with torch.no_grad():
            step = objective(batch, generator)
        boxes = batch["boxes"]
        still = box_iou(boxes[:, :, :1].expand_as(boxes), boxes).mean()
        found.append([float(step.metrics["iou"]), float(still)])
    moved, still = np.mean(found, axis=0)
    return float(moved), float(still)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each number over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: float(np.mean([row[name] for row in rows if name in row]))
        for name in names
        if name not in ("step", "of", "epoch")
    }
