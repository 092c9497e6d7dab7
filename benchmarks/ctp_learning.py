"""Does the demo's CtP learn to follow patches? Held-out IoU beside standing still.

``python benchmarks/ctp_learning.py [--epochs N] [part.name=value ...]`` trains with the settings of
the demo on one thread and measures on test videos with trajectories of another seed:
``python benchmarks/ctp_learning.py method.patch_gain=0`` shows what one setting does. Settings
were chosen on the first epochs of the training loss and on ``motion_shapes`` seed 0; the
figures are of ``--seed`` 1, the default, used for nothing else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from pydantic import BaseModel

from pipeline.stage import Context
from stages.decode.decode import Decode
from stages.learning.box_iou import box_iou
from stages.learning.data import Examples
from stages.learning.train import Trainer, TrainSpec
from stages.shard.shard import MakeShard
from stages.sources.motion_shapes import MotionShapes
from stages.synthesize.synthesize import Synthesize
from storage_schemas.videos import VideoFile
from workflows.tiny import BANK, SHAPES, TRAININGS

TRAINING = TRAININGS["ctp"]

BATCHES, BATCH = 16, 32


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1, help="of the videos")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="instead of the demo's")
    parser.add_argument("settings", nargs="*", help="method.*, bank.*, optimisation.*, encoder.*")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    parts: dict[str, Any] = {
        "method": TRAINING.method,
        "optimisation": TRAINING.optimisation,
        "encoder": TRAINING.encoder,
        "bank": BANK,
    }
    for setting in options.settings:
        where, value = setting.split("=")
        part, name = where.split(".")
        parts[part] = changed(parts[part], name, json.loads(value))
    if options.epochs:
        parts["optimisation"] = changed(parts["optimisation"], "epochs", options.epochs)
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), parts, seed=options.seed, threads=options.threads)


def changed(model: BaseModel, name: str, value: Any) -> BaseModel:
    """A model with one parameter changed, validated."""
    return type(model)(**(dict(model) | {name: value}))


def run(work: Path, parts: dict[str, Any], *, seed: int, threads: int) -> None:
    """Train once and measure."""
    shapes: MotionShapes = changed(SHAPES, "seed", seed)  # type: ignore[assignment]
    folders = {name: work / name for name in ("shapes", "shards", "bank", "other_bank", "train")}
    for folder in folders.values():
        folder.mkdir()
    dataset = shapes.run(ctx=Context(work=folders["shapes"]))
    decode, pack, tables = Decode(), MakeShard(), {}
    for row in shapes.listing():
        path = dataset.videos_root / row.video_id
        video = VideoFile(row.video_id, "", path.stat().st_size, path)
        tables[row.video_id] = pack.process(frames=decode.process(videos=video)).to_tables()
    pack.write_part(folders["shards"], tables)
    videos = {
        split: [row.video_id for row in shapes.listing() if row.split == split]
        for split in ("train", "test")
    }
    bank: Synthesize = parts["bank"]
    bank.run(ctx=Context(work=folders["bank"]))
    changed(bank, "seed", bank.seed + 1).run(ctx=Context(work=folders["other_bank"]))  # type: ignore[attr-defined]

    spec = TrainSpec(
        **{
            name: parts[name].model_dump(mode="json")
            for name in ("method", "encoder", "optimisation")
        },
        seed=TRAINING.seed,
        shards=[str(folders["shards"])],
        annotations={"trajectories": [str(folders["bank"])]},
        folder=str(folders["train"]),
        videos=videos["train"],
        device="cpu",
        threads=threads,
    )
    started = time.process_time()
    trainer = Trainer(spec)
    trainer.run()
    spent = time.process_time() - started
    log = [json.loads(line) for line in (folders["train"] / "log.jsonl").read_text().splitlines()]
    for first in range(0, len(log), max(1, len(log) // 8)):
        rows = log[first : first + max(1, len(log) // 8)]
        loss, iou = (np.mean([row[name] for row in rows]) for name in ("loss", "iou"))
        print(f"steps {first + 1}-{first + len(rows)}: loss {loss:.2f}, training IoU {iou:.3f}")
    print(f"{len(log)} steps in {spent:.0f} s CPU")
    for split, bank_folder in (("train", "bank"), ("test", "other_bank")):
        examples = Examples(
            trainer.objective.method,
            [folders["shards"]],
            {"trajectories": [folders[bank_folder]]},
            seed=seed + 100,
            videos=videos[split],
        )
        found = measure(trainer, examples)
        print(
            f"{split} videos{'' if split == 'train' else ', other trajectories'}: loss "
            f"{found.loss:.2f}, IoU {found.iou:.3f}; standing still: IoU {found.still:.3f}; "
            f"hidden units of the head that answer to any patch: {found.alive:.0%}"
        )


class Measured(NamedTuple):
    """IoU of predictions and of boxes that stay where they are first; living hidden units."""

    loss: float
    iou: float
    still: float
    alive: float


def measure(trainer: Trainer, examples: Examples) -> Measured:
    """Measure without learning, on batch statistics of the training."""
    objective = trainer.objective.eval()
    found = []
    alive: list[torch.Tensor] = []
    relu = objective.heads["boxes"][2]  # type: ignore[index]
    hook = relu.register_forward_hook(lambda _, __, out: alive.append((out > 0).any(0)))
    for b in range(BATCHES):
        places = [divmod(b * BATCH + i, len(examples)) for i in range(BATCH)]
        rows = [examples[place] for place in places]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        with torch.no_grad():
            step = objective(batch, np.random.default_rng(b))
        boxes = batch["boxes"]
        still = box_iou(boxes[:, :, :1].expand_as(boxes), boxes).mean()
        found.append([float(step.loss), float(step.metrics["iou"]), float(still)])
    hook.remove()
    loss, iou, still = np.mean(found, axis=0)
    return Measured(loss, iou, still, float(torch.stack(alive).any(0).float().mean()))


if __name__ == "__main__":
    main()
