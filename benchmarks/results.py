"""Do the methods learn what they claim? The measurements of ``docs/results.md``.

``python benchmarks/results.py --methods moco fame --seeds 1 2 3`` trains each method once a
seed on procedural videos whose class is the motion, measures, writes one JSON file a run
to ``--folder`` and prints the tables of all files there; a run whose file is there is not
made again, and data are made once.

Settings were chosen on videos of seed 1000 and trainings of seed 100, where only causes are
looked for. Worlds differ in how much looks tell one video from another.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from claims import ctp_iou, found_again, held_out, means, speed_order
from small_trainings import ABLATIONS, TRAININGS, WORLDS, Data, World, make, told_labels

from pipeline.stage import Context
from stages.evaluate.linear_probe import LinearProbe
from stages.evaluate.retrieval import PROTOCOLS, Retrieval
from stages.learning.encoders import build
from stages.learning.train_spec import TrainSpec
from stages.learning.trainer import Trainer
from stages.pretrain.pretrain import Pretrain
from storage_schemas.encoders import EncoderFiles
from storage_schemas.features import Features
from storage_schemas.labels import Labels
from storage_schemas.metrics import MetricRow
from workflows.tiny import CLIPS, SIZE


def main() -> None:
    """Train what has not been trained, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    every = [name for name in TRAININGS if name not in ABLATIONS]
    parser.add_argument("--methods", nargs="*", default=every, choices=list(TRAININGS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3], help="of trainings")
    parser.add_argument("--world", default="shapes", choices=list(WORLDS))
    parser.add_argument("--videos", type=int, default=1, help="seed of the videos")
    parser.add_argument("--epochs", type=int, help="instead of the world's, or each method's own")
    parser.add_argument("--folder", type=Path, default=Path(".tubelet/results"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    world = WORLDS[options.world].of(videos=options.videos, epochs=options.epochs)
    folder = options.folder / f"{options.world}-{options.videos}"
    if options.epochs:
        folder = folder.with_name(f"{folder.name}-{options.epochs}")
    for seed in options.seeds:
        for method in options.methods:
            run(folder, world, method, seed=seed)
    print_tables(folder)


_Raw = argparse.RawDescriptionHelpFormatter


def run(folder: Path, world: World, name: str, *, seed: int) -> None:
    """One training and all that is measured of it, unless its file is there."""
    target = folder / "runs" / f"{name}-{seed}.json"
    if target.exists():
        return
    data = make(folder, "videos", world.shapes, tubes=True)
    work = folder / "trainings" / f"{name}-{seed}"
    trainer = train(work, TRAININGS[name], data, seed=seed, epochs=world.epochs)
    spent = float((work / "cpu_seconds").read_text())
    rows = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    found = {
        "method": name,
        "seed": seed,
        "steps": len(rows),
        "cpu_seconds": spent,
        "last": means(rows[-max(1, len(rows) // 8) :]),
        "held_out": held_out(trainer, data),
        **measure(
            folder,
            world,
            trainer,
            EncoderFiles.open(work),
            seed=seed,
            beside_random=name == "moco",
        ),
    }
    if name == "ctp":
        found["iou"], found["iou_still"] = ctp_iou(trainer, data)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=1))
    print(f"{name}, seed {seed}: {len(rows)} steps, {spent:.0f} s", flush=True)


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


def measure(
    folder: Path,
    world: World,
    trainer: Trainer,
    files: EncoderFiles,
    *,
    seed: int,
    beside_random: bool,
) -> dict[str, Any]:
    """What is measured of all methods; in MoCo's run of a random encoder, too."""
    motion = make(folder, "videos", world.shapes, tubes=True)
    objective = trainer.objective.eval()
    encoders = {"pretrained": objective.encoder}
    if beside_random:
        torch.manual_seed(seed)
        encoders["random"] = build(trainer.encoder_spec).eval()
    random_seed = seed if beside_random else None
    heads = dict(objective.heads)

    features = extract(files, motion, random_seed=random_seed)
    labels = Labels(motion.shapes.listing())
    probed = LinearProbe().run(features=features, labels=labels).rows
    looked_up = Retrieval(ks=(1,)).run(features=features, labels=labels, shards=motion.shards).rows
    found: dict[str, Any] = {
        name: {
            "probe": _pick(probed, name, "top-1"),
            "probe_train": _pick(probed, name, "top-1", split="train"),
            "speed": speed_order(encoder, motion),
            **{
                f"recall_{letter}": _pick(looked_up, name, "R@1", protocol=protocol)
                for letter, protocol in PROTOCOLS.items()
            },
        }
        for name, encoder in encoders.items()
    }
    if "speed" in heads:
        found["pretrained"]["speed_head"] = speed_order(objective.encoder, motion, heads["speed"])

    if (told := world.told) is not None:
        features = extract(files, make(folder, "told", told), random_seed=random_seed)
        for test in ("same", "drawn"):
            labels = told_labels(told, test=test)
            probed = LinearProbe().run(features=features, labels=labels).rows
            for name, row in found.items():
                row[f"told_{test}"] = _pick(probed, name, "top-1")
        for row in found.values():
            row["told_drop"] = row["told_same"] - row["told_drawn"]

    if (shapes := world.alone) is not None:
        alone = make(folder, "alone", shapes)
        for name, encoder in encoders.items():
            found[name]["region"] = found_again(encoder, alone)
            found[name]["region_large"] = found_again(encoder, alone, size=2 * SIZE)
        if "decoder" in heads:
            found["pretrained"]["region_head"] = found_again(
                objective.encoder, alone, heads["decoder"]
            )
    return found


def _pick(rows: Iterable[MetricRow], encoder: str, metric: str, **more: str) -> float:
    """The value of the only row that is asked for."""
    wanted = {"encoder": encoder, "metric": metric, "split": "test"} | more
    (value,) = (r.value for r in rows if all(getattr(r, k) == v for k, v in wanted.items()))
    return value


def extract(files: EncoderFiles, data: Data, *, random_seed: int | None) -> Features:
    """Features of all videos, from the trained encoder and maybe one that was only drawn."""
    stage = CLIPS.model_copy(update={"random_seed": random_seed})
    return stage.run(encoder=files, shards=data.shards, ctx=Context(work=data.folder, device="cpu"))


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
    "Speeds": {
        "by features": ("pretrained", "speed"),
        "by its head": ("pretrained", "speed_head"),
        "own accuracy, held-out": ("held_out", "speed_accuracy"),
    },
    "Regions": {
        "in its view": ("pretrained", "region", "place"),
        "by the decoder": ("pretrained", "region_head", "place"),
        "in a large view": ("pretrained", "region_large", "place"),
        "of its video": ("pretrained", "region", "video"),
        "by the decoder ": ("pretrained", "region_head", "video"),
        "in a large view ": ("pretrained", "region_large", "video"),
    },
    "Boxes": {"IoU": ("iou",), "standing still": ("iou_still",)},
    "Health": {
        "contrast, held-out": ("held_out", "contrast_accuracy"),
        "contrast, training": ("last", "contrast_accuracy"),
        "clips, held-out": ("held_out", "clip_accuracy"),
        "clips, training": ("last", "clip_accuracy"),
        "regions, held-out": ("held_out", "region_accuracy"),
        "uniformity": ("last", "uniformity"),
        "alignment": ("last", "alignment"),
        "std": ("last", "feature_std"),
        "rank": ("last", "effective_rank"),
        "seconds": ("cpu_seconds",),
    },
}


def print_tables(folder: Path) -> None:
    """Mean and sample standard deviation over seeds of every run that is there, as Markdown."""
    runs = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]
    by_method = {name: [r for r in runs if r["method"] == name] for name in TRAININGS}
    drawn = {r["seed"]: {"pretrained": r["random"]} for r in runs if r["method"] == "moco"}
    lines = {"random": list(drawn.values()), **by_method}
    for title, columns in TABLES.items():
        rows = []
        for name, found in lines.items():
            cells = [_cell([_at(run, path) for run in found]) for path in columns.values()]
            if any(cells):
                rows.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
        if rows:
            head = f"| | n | {' | '.join(columns)} |\n|---{'|---' * (1 + len(columns))}|"
            print("\n".join([f"\n{title}\n", head, *rows]))


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
