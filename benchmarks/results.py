"""Do the methods learn what they claim? The measurements of ``docs/results.md``.

``python benchmarks/results.py --methods moco fame --seeds 1 2 3`` trains each method once a
seed on procedural videos whose class is the motion, measures, writes one JSON file a run
to ``--folder`` and prints the tables of all files there; a run whose file is there is not
made again, and data are made once.

Settings were chosen on videos of seed 1000 and trainings of seed 100, which are reported
nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from labelled import Labelled
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.stage import Context
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.linear_probe import LinearProbe
from stages.evaluate.retrieval import PROTOCOLS, Retrieval
from stages.learning.clip_contrast import ClipContrast
from stages.learning.data import Examples
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.optimisation import Optimisation
from stages.learning.pixels import MEAN, STD, normalise
from stages.learning.region_contrast import regions_and_context
from stages.learning.relative_speed import RelativeSpeed
from stages.learning.train import Trainer, TrainSpec
from stages.learning.views import ResizedCrop
from stages.pretrain.methods.constcl import ConstCL, RegionContrast
from stages.pretrain.methods.ctp import CtP, box_iou
from stages.pretrain.methods.fame import FAME
from stages.pretrain.methods.moco import MoCo
from stages.pretrain.methods.previts import PreViTS
from stages.pretrain.methods.rspnet import RSPNet
from stages.pretrain.methods.simclr import SimCLR
from stages.pretrain.pretrain import Pretrain
from stages.shard.shard import MakeShard
from stages.sources.motion_shapes import MotionShapes
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.dataset import Dataset
from storage_schemas.encoders import EncoderFiles
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import MetricRow
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.videos import VideoFile

FRAMES, STRIDE, SIZE = 8, 2, 48
FITTED = 16  # videos a class with a telling background that the probe learns from; others test it
CHOICES = 8  # boxes that the same object is looked for in

SHAPES = MotionShapes(
    train_per_class=32, test_per_class=16, num_frames=20, size=64, num_objects=4, seed=1
)
# In training the background tells the class, of the test videos it does not.
TOLD = SHAPES.model_copy(
    update={"train_per_class": FITTED + 12, "test_per_class": 12, "background_bias_train": 1.0}
)
ALONE = SHAPES.model_copy(update={"train_per_class": 1, "test_per_class": 8, "num_objects": 1})
BANK = Synthesize(
    num_frames=FRAMES,
    size=SIZE,
    num_trajectories=4096,
    inner_probabilities=(1.0,),
    interpolation="linear",
    visible_probability=1.0,
)
CLIPS = ExtractFeatures(num_clips=2, num_frames=FRAMES, frame_stride=STRIDE, size=SIZE)

_AREA = (0.5, 1.0)  # smaller crops miss the objects
_VIEW: dict[str, Any] = {
    "num_frames": FRAMES,
    "size": SIZE,
    "crop_area": _AREA,
    "colour": False,
}
_PAIR: dict[str, Any] = {**_VIEW, "frame_stride": STRIDE, "mean": MEAN, "std": STD}
# The queue holds no video twice in most steps, or the same video would be a negative.
_QUEUE = MomentumContrast(
    dim=64, hidden=128, queue_size=96, momentum=0.99, temperature=0.1, symmetric=False
)
_SPEEDS = RelativeSpeed(dim=64, queue_size=96, momentum=0.99, temperature=0.1)
_CLIP = ClipContrast(dim=64, hidden=128, hidden_layers=1)
_COSINE = Optimisation(
    epochs=16,
    batch_size=32,
    learning_rate=0.03,
    schedule="cosine",
    by_step=True,
    warmup_steps=20,
    channels_last=True,
)


def _training(method: Any, optimisation: Optimisation = _COSINE) -> Pretrain:
    return Pretrain(method=method, encoder=EncoderSpec(width=8), optimisation=optimisation)


# What each method needs to learn its own task in about a minute of one core.
TRAININGS: Mapping[str, Pretrain] = {
    "ctp": _training(
        CtP(
            num_frames=FRAMES,
            size=SIZE,
            strides=(1, 2),
            colour=False,
            patch_gain=1.0,
            hidden=256,
            roi_bins=3,
            initial_std=0.02,
        ),
        Optimisation(
            epochs=24,
            batch_size=16,
            learning_rate=0.01,
            milestones=(18, 22),
            gradient_clip=10.0,
            channels_last=True,
        ),
    ),
    "rspnet": _training(RSPNet(**_VIEW, relative=_SPEEDS)),
    "previts": _training(PreViTS(**_VIEW, min_valid_frames=4, relative=_SPEEDS)),
    "constcl": _training(ConstCL(**_PAIR, clip=_CLIP, region=RegionContrast(weight=0.5))),
    "fame": _training(FAME(**_PAIR, contrast=_QUEUE)),
    "moco": _training(MoCo(**_PAIR, contrast=_QUEUE)),
    "simclr": _training(SimCLR(**_PAIR, clip=_CLIP)),
    "labelled": _training(Labelled(size=SIZE, crop_area=_AREA)),
}


class Data(NamedTuple):
    """Videos of one generator on disk."""

    shapes: MotionShapes
    folder: Path

    @property
    def shards(self) -> Items[Shard]:
        return Items(Shard, [self.folder / "shards"])

    def videos(self, split: str) -> list[str]:
        return [row.video_id for row in self.shapes.listing() if row.split == split]


def main() -> None:
    """Train what has not been trained, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--methods", nargs="*", default=list(TRAININGS), choices=list(TRAININGS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3], help="of trainings")
    parser.add_argument("--epochs", type=int, help="instead of each method's own")
    parser.add_argument("--folder", type=Path, default=Path("results"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for seed in options.seeds:
        for method in options.methods:
            run(options.folder, method, seed=seed, epochs=options.epochs)
    print_tables(options.folder)


_Raw = argparse.RawDescriptionHelpFormatter


def run(folder: Path, name: str, *, seed: int, epochs: int | None) -> None:
    """One training and all that is measured of it, unless its file is there."""
    target = folder / "runs" / f"{name}-{seed}.json"
    if target.exists():
        return
    data = make(folder, "shapes", SHAPES)
    work = folder / "trainings" / f"{name}-{seed}"
    trainer = train(work, TRAININGS[name], data, seed=seed, epochs=epochs)
    spent = float((work / "cpu_seconds").read_text())
    rows = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    found = {
        "method": name,
        "seed": seed,
        "steps": len(rows),
        "cpu_seconds": spent,
        "last": _means(rows[-max(1, len(rows) // 8) :]),
        "held_out": held_out(trainer, data),
        **measure(folder, trainer, EncoderFiles.open(work), seed=seed),
    }
    if name == "ctp":
        found["iou"], found["iou_still"] = ctp_iou(trainer, data)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=1))
    print(f"{name}, seed {seed}: {len(rows)} steps, {spent:.0f} s", flush=True)


def make(folder: Path, name: str, shapes: MotionShapes) -> Data:
    """Videos, decoded and packed, with tubes for pretraining; made once."""
    done = folder / name
    if not done.exists():
        work = folder / f"{name}.{os.getpid()}.tmp"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        dataset = shapes.run(ctx=Context(work=work))
        decode, pack, track = Decode(), MakeShard(), Track(min_length=4)
        shards, tubes = {}, {}
        for row in shapes.listing():
            path = dataset.videos_root / row.video_id
            video = VideoFile(row.video_id, "", path.stat().st_size, path)
            shard = pack.process(frames=decode.process(videos=video))
            shards[row.video_id] = shard.to_tables()
            if shapes is SHAPES:
                tubes[row.video_id] = track.process(frames=shard).to_tables()
        for part in ("shards", "tubes", "bank", "other_bank"):
            (work / part).mkdir()
        pack.write_part(work / "shards", shards)
        Boxes.write_part(work / "tubes", tubes)
        BANK.run(ctx=Context(work=work)).write(work / "bank")
        other = BANK.model_copy(update={"seed": BANK.seed + 1})
        other.run(ctx=Context(work=work)).write(work / "other_bank")
        if not done.exists():  # another process was faster
            work.rename(done)
    return Data(shapes, done)


def train(work: Path, training: Pretrain, data: Data, *, seed: int, epochs: int | None) -> Trainer:
    """Train in this process on the training split."""
    work.mkdir(parents=True, exist_ok=True)
    optimisation = training.optimisation
    if epochs:
        optimisation = optimisation.model_copy(update={"epochs": epochs})
    annotations = {
        "trajectories": [str(data.folder / "bank")],
        "tubes": [str(data.folder / "tubes")],
    }
    spec = TrainSpec(
        method=training.method.model_dump(mode="json"),
        encoder=training.encoder.model_dump(mode="json"),
        optimisation=optimisation.model_dump(mode="json"),
        seed=seed,
        shards=[str(data.folder / "shards")],
        annotations={role: annotations[role] for role in training.method.reads()},
        folder=str(work),
        videos=data.videos("train"),
        device="cpu",
        threads=1,
    )
    started = time.process_time()
    trainer = Trainer(spec)
    trainer.run()
    if not (work / "cpu_seconds").exists():
        (work / "cpu_seconds").write_text(f"{time.process_time() - started:.1f}")
    return trainer


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
    return _means(steps)


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


def measure(folder: Path, trainer: Trainer, files: EncoderFiles, *, seed: int) -> dict[str, Any]:
    """What is measured of all methods, each beside a random encoder."""
    motion, told = make(folder, "shapes", SHAPES), make(folder, "told", TOLD)
    labels = Labels(SHAPES.listing())
    features = extract(files, motion, seed=seed)
    probed = LinearProbe().run(features=features, labels=labels).rows
    looked_up = Retrieval(ks=(1,)).run(features=features, labels=labels, shards=motion.shards).rows
    telling = extract(files, told, seed=seed)
    same, drawn = (
        LinearProbe().run(features=telling, labels=told_labels(test=test)).rows
        for test in ("same", "drawn")
    )
    found: dict[str, Any] = {}
    for encoder in ("pretrained", "random"):
        found[encoder] = {
            "probe": _pick(probed, encoder, "top-1"),
            "probe_train": _pick(probed, encoder, "top-1", split="train"),
            **{
                f"recall_{letter}": _pick(looked_up, encoder, "R@1", protocol=protocol)
                for letter, protocol in PROTOCOLS.items()
            },
            "told_same": _pick(same, encoder, "top-1"),
            "told_drawn": _pick(drawn, encoder, "top-1"),
        }
    objective = trainer.objective.eval()
    torch.manual_seed(seed)
    untrained = build(trainer.encoder_spec, **objective.method.encoder_options).eval()
    alone = make(folder, "alone", ALONE)
    for name, encoder in (("pretrained", objective.encoder), ("random", untrained)):
        found[name]["speed"] = speed_order(encoder, motion)
        found[name]["region"] = found_again(encoder, alone)
    heads = dict(objective.heads)
    if "speed" in heads:
        found["pretrained"]["speed_head"] = speed_order(objective.encoder, motion, heads["speed"])
    if "decoder" in heads:
        found["pretrained"]["region_head"] = found_again(objective.encoder, alone, heads["decoder"])
    return found


def _pick(rows: Iterable[MetricRow], encoder: str, metric: str, **more: str) -> float:
    """The value of the only row that is asked for."""
    wanted = {"encoder": encoder, "metric": metric, "split": "test"} | more
    (value,) = (r.value for r in rows if all(getattr(r, k) == v for k, v in wanted.items()))
    return value


def extract(files: EncoderFiles, data: Data, *, seed: int) -> Features:
    """Features of all videos, from the trained encoder and one that was only drawn."""
    stage = CLIPS.model_copy(update={"random_seed": seed})
    return stage.run(encoder=files, shards=data.shards, ctx=Context(work=data.folder, device="cpu"))


def told_labels(*, test: str) -> Labels:
    """Labels that fit the probe on telling backgrounds and test it on ``same`` or ``drawn``."""
    rows = []
    seen: dict[str, int] = {}
    for row in TOLD.listing():
        count = seen[row.label] = seen.get(row.label, 0) + 1
        if row.split == "train" and count <= FITTED:
            rows.append(row)
        elif row.split == "train" and test == "same":
            rows.append(replace(row, split="test"))
        elif row.split == "test" and test == "drawn":
            rows.append(row)
    return Labels(rows)


@torch.no_grad()
def speed_order(encoder: nn.Module, data: Data, head: nn.Module | None = None) -> float:
    """Share of triplets of held-out clips in which two of one speed are the nearer ones.

    By the cosine of averaged features, or of what a `head` makes of them. Half of the
    queries are slow, half are fast; the slower clips are consecutive frames.
    """
    rng = np.random.default_rng(0)
    right = []
    for i, video_id in enumerate(data.videos("test")):
        video = data.shards[video_id]
        strides = [1, 1, STRIDE] if i % 2 else [STRIDE, STRIDE, 1]
        starts = [rng.integers(len(video) - (FRAMES - 1) * stride) for stride in strides]
        frames = np.stack(
            [start + s * np.arange(FRAMES) for start, s in zip(starts, strides, strict=True)]
        )
        clips_BTHWC = np.stack([whole(video.decode(indices)) for indices in frames])
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
    encoder: nn.Module, data: Data, decoder: nn.Module | None = None
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
                rng, height=video.height, width=video.width, size=SIZE, area=_AREA
            )
            clips.append(np.ascontiguousarray(crop.apply(video.decode(indices))))
            middle = known.xyxy[known.frame == indices[FRAMES // 2]]
            places.append(crop.apply_boxes(middle)[0])
        if any((place[2:] - place[:2]).min() < SIZE / 16 for place in places):
            continue  # cut off
        boxes_2N4 = np.stack([np.tile(places[0], (CHOICES, 1)), choices(rng, places[1])])
        pixels = normalise(torch.from_numpy(np.stack(clips)))
        maps = encoder.both_maps(pixels)[1] if decoder is not None else encoder(pixels)  # type: ignore[operator]
        (first_NC, second_NC), context = regions_and_context(
            maps, torch.from_numpy(boxes_2N4).float() / SIZE, context=5, bins=4
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


def choices(rng: np.random.Generator, box_4: NDArray[np.float32]) -> NDArray[np.float32]:
    """The box, then others of its size elsewhere in the view, (`CHOICES`, 4)."""
    width, height = box_4[2:] - box_4[:2]
    boxes = [box_4]
    while len(boxes) < CHOICES:
        left, top = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
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


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: float(np.mean([row[name] for row in rows if name in row]))
        for name in names
        if name not in ("step", "of", "epoch")
    }


# Column -> where it stands in the file of a run: of the trained encoder, or of its log.
TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Motion classes": {
        "linear probe": ("pretrained", "probe"),
        "of training videos": ("pretrained", "probe_train"),
        "R@1, A": ("pretrained", "recall_A"),
        "R@1, B": ("pretrained", "recall_B"),
    },
    "Backgrounds that tell the class": {
        "told": ("pretrained", "told_same"),
        "drawn": ("pretrained", "told_drawn"),
        "drop": ("pretrained", "told_drop"),
    },
    "Claims of single methods": {
        "speeds in order": ("pretrained", "speed"),
        "by its head": ("pretrained", "speed_head"),
        "region in its view": ("pretrained", "region", "place"),
        "by the decoder": ("pretrained", "region_head", "place"),
        "region of its video": ("pretrained", "region", "video"),
        "by the decoder ": ("pretrained", "region_head", "video"),
        "IoU of boxes": ("iou",),
        "standing still": ("iou_still",),
    },
    "Own task, held-out / training": {
        "contrast, held-out": ("held_out", "contrast_accuracy"),
        "contrast, training": ("last", "contrast_accuracy"),
        "clips, held-out": ("held_out", "clip_accuracy"),
        "clips, training": ("last", "clip_accuracy"),
        "regions, held-out": ("held_out", "region_accuracy"),
        "regions, training": ("last", "region_accuracy"),
        "speeds, held-out": ("held_out", "speed_accuracy"),
        "speeds, training": ("last", "speed_accuracy"),
        "uniformity": ("last", "uniformity"),
        "alignment": ("last", "alignment"),
        "std": ("last", "feature_std"),
        "rank": ("last", "effective_rank"),
    },
}


def print_tables(folder: Path) -> None:
    """Mean and sample standard deviation over seeds of every run that is there, as Markdown."""
    runs = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]
    for found in runs:
        for encoder in ("pretrained", "random"):
            row = found[encoder]
            row["told_drop"] = row["told_same"] - row["told_drawn"]
    by_method = {name: [r for r in runs if r["method"] == name] for name in TRAININGS}
    # One random encoder a seed: those of the same form are the same for all methods.
    drawn = {r["seed"]: {"pretrained": r["random"]} for r in runs if r["method"] == "moco"}
    lines = {"random": list(drawn.values()), **by_method}
    for title, columns in TABLES.items():
        print(f"\n{title}\n\n| | n | {' | '.join(columns)} |\n|---{'|---' * (1 + len(columns))}|")
        for name, found in lines.items():
            cells = [_cell([_at(run, path) for run in found]) for path in columns.values()]
            if any(cells):
                print(f"| {name} | {len(found)} | {' | '.join(cells)} |")


def _at(run: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = run
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{spread}"


if __name__ == "__main__":
    main()
