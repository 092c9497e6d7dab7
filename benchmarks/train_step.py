"""A step of the trainer beside the bare forward, backward and step of the same modules.

``python benchmarks/train_step.py [--width 16] [--rounds 15]``. Both take a batch that lies in
memory. *Bare* is what a script would write: modules on standardised float clips, the loss,
`backward`, `torch.optim.SGD`. *Trainer* starts from stored uint8 clips and does all that a
training does: standardising, gradient clipping, metrics, the health of the features, twins,
queue, the log and its TensorBoard file. *With colours* adds the method's colour law, which is
measured by itself in ``benchmarks/colour.py``.

Process CPU time of one thread; the three take turns, so that a busy machine disturbs all
alike; medians, and the median of the ratios of each turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from pipeline.stage import Context
from stages.learning.contrastive import contrast, info_nce
from stages.learning.pixels import normalise
from stages.learning.train_spec import TrainSpec
from stages.learning.trainer import Trainer
from stages.learning.training_log import TrainingLog
from stages.pretrain.methods.ctp import encode_motion
from stages.synthesize.synthesize import Synthesize
from storage_schemas.frames import Probe
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.shards import Shard

FRAMES, SIZE, BATCH = 16, 112, 4
METHODS = ("ctp", "moco", "rspnet", "simclr")
Work = Callable[[], object]


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """A shard of noise videos and a bank of trajectories."""
    shards, bank = folder / "shards", folder / "bank"
    shards.mkdir()
    bank.mkdir()
    rng = np.random.default_rng(0)
    items = {}
    for i in range(BATCH):
        images = rng.integers(0, 256, (40, 128, 171, 3), dtype=np.uint8)
        video = Shard(
            video_id=str(i),
            jpegs=[encode_jpeg(image, quality=90) for image in images],
            pts_seconds=np.arange(40) / 25,
            source_frames=np.arange(40, dtype=np.int32),
            height=128,
            width=171,
            probe=Probe(codec="h264", frames_expected=40, frames_decoded=40),
        )
        items[video.video_id] = video.to_tables()
    Shard.write_part(shards, items)
    Synthesize(num_frames=FRAMES, size=SIZE, num_trajectories=64).run(ctx=Context(work=bank))
    return shards, bank


def make_trainer(name: str, folder: Path, *, width: int, colour: bool) -> Trainer:
    """A trainer of the method's published clips."""
    method: dict[str, Any] = {
        "name": name, "num_frames": FRAMES, "size": SIZE, "colour": colour,
    }  # fmt: skip
    if name in ("moco", "rspnet"):
        method["contrast" if name == "moco" else "relative"] = {"queue_size": 16384}
    return Trainer(
        TrainSpec(
            method=method,
            encoder={"width": width},
            optimisation={"epochs": 1, "batch_size": BATCH},
            seed=0,
            shards=[str(folder / "shards")],
            annotations={"trajectories": [str(folder / "bank")]},
            folder=str(folder),
            device="cpu",
        )
    )


def bare_loss(trainer: Trainer, batch: dict[str, Tensor]) -> Callable[[], Tensor]:
    """Forward pass and loss on clips that are standardised beforehand."""
    objective: Any = trainer.objective
    method, encoder, heads = objective.method, objective.encoder, objective.heads
    law = method.standardisation._asdict()
    clips = {n: normalise(v, **law) for n, v in batch.items() if v.dtype == torch.uint8}

    def ctp() -> Tensor:
        predicted = method.predict(objective, clips["clip"], batch["boxes"][:, :, 0])
        target = encode_motion(
            batch["boxes"].flatten(0, 1),
            centre_scale=method.centre_scale,
            size_scale=method.size_scale,
        )
        return functional.smooth_l1_loss(predicted, target)

    def twins(view: Tensor, *names: str) -> list[Tensor]:
        with torch.no_grad():
            features = heads["twin_encoder"](view)
            return [heads[f"twin_{name}"](features) for name in names]

    def moco() -> Tensor:
        losses = []
        for query, key in ((clips["first"], clips["second"]), (clips["second"], clips["first"])):
            vectors = heads["projector"](encoder(query))
            (keys,) = twins(key, "projector")
            losses.append(
                info_nce(contrast(vectors, keys, heads["queue"].keys_KD, temperature=0.1))
            )
        return (losses[0] + losses[1]) / 2

    def rspnet() -> Tensor:
        fast, slow = clips["query"][:, :, ::2], clips["key"][:, :, :FRAMES]
        other = twins(slow, "video", "speed")
        same = twins(clips["key"][:, :, ::2], "video", "speed")
        features = encoder(fast)
        video, speed = heads["video"](features), heads["speed"](features)
        queue = heads["queue"].keys_KD
        loss = sum(info_nce(contrast(video, k, queue, temperature=0.07)) for k, _ in (same, other))
        margin = ((speed * same[1]).sum(1) - (speed * other[1]).sum(1)) / 0.07
        return loss + (2 - margin).clamp(min=0).mean()

    def simclr() -> Tensor:
        maps = encoder(both)
        vectors = functional.normalize(heads["projector"](maps.mean((2, 3, 4))), dim=1)
        logits = (vectors @ vectors.T / 0.1).fill_diagonal_(-torch.inf)
        return 2 * functional.cross_entropy(logits, torch.arange(2 * BATCH).roll(BATCH))

    if method.name == "simclr":
        both = torch.cat([clips["first"], clips["second"]])
    return {"ctp": ctp, "moco": moco, "rspnet": rspnet, "simclr": simclr}[method.name]


def bare_step(trainer: Trainer, batch: dict[str, Tensor]) -> Work:
    """What a script would write."""
    loss = bare_loss(trainer, batch)
    trainer.objective.train()
    optimiser = torch.optim.SGD(trainer.parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def work() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return work


def our_step(trainer: Trainer, batch: dict[str, Tensor], log: TrainingLog) -> Work:
    """The trainer's step and its row in the log."""
    trainer.objective.train()

    def work() -> None:
        numbers = trainer.train_step(trainer.objective, batch, rate=1e-4)
        log({"step": trainer.step, "of": 1, "epoch": 1, **numbers, "learning_rate": 1e-4})

    return work


def seconds(work: Work) -> float:
    """CPU time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    arguments = parser.parse_args()
    table = Table("method", "bare ms", "trainer ms", "trainer / bare", "with colours / bare")
    for name in arguments.methods:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_inputs(folder)
            plain, coloured, bare = (
                make_trainer(name, folder, width=arguments.width, colour=colour)
                for colour in (False, True, False)
            )
            rows = [plain.examples[0, i] for i in range(BATCH)]
            batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
            with TrainingLog(folder, first_step=0) as log:
                works = [
                    bare_step(bare, batch),
                    our_step(plain, batch, log),
                    our_step(coloured, batch, log),
                ]
                for work in works:
                    work()
                rounds = [[seconds(work) for work in works] for _ in range(arguments.rounds)]
        bare_ms, ours_ms, _ = (
            1e3 * statistics.median(times) for times in zip(*rounds, strict=True)
        )
        ratio, with_colours = (
            statistics.median(turn[i] / turn[0] for turn in rounds) for i in (1, 2)
        )
        table.add_row(
            name, f"{bare_ms:.0f}", f"{ours_ms:.0f}", f"{ratio:.3f}", f"{with_colours:.3f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
