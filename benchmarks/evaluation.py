"""How close feature extraction comes to the bare encoder, and how long a linear probe takes.

``python benchmarks/evaluation.py`` makes videos, stores them as shards, and runs, on one
thread and alternately, (a) `ExtractFeatures`, (b) the same encoder over the same clips already
in memory. Then logistic regression on 10,000 random vectors.

CPU seconds of this process include what other threads decode. CPU seconds of the thread that
runs the encoder are what a machine with a core to spare would take; the wall time tells what
waits, and on a shared machine mostly for other processes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.stage import Context
from stages.evaluate.features import ExtractFeatures, pool
from stages.evaluate.linear_probe import probe_scores
from stages.evaluate.neighbours import nearest
from stages.learning.devices import pick_device
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import random_encoder
from stages.learning.pixels import normalise
from storage_schemas.encoders import EncoderFiles
from storage_schemas.frames import Probe
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

PART = 8  # videos
CLOCKS = {
    "time": time.monotonic,
    "CPU": time.process_time,
    "CPU of the encoder's thread": time.thread_time,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--width", type=int, default=64, help="of the encoder; 64 is published")
    parser.add_argument("--encoder", default="r3d18")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="ctp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="of the stage alone, nothing else")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        extraction(Path(name), options)
    if not options.memory:
        probe()


def extraction(folder: Path, options: argparse.Namespace) -> None:
    """Streaming beside the bare loop."""
    spec = EncoderSpec(name=options.encoder, width=options.width)
    encoder = random_encoder(spec, seed=0).eval()
    (folder / "encoder").mkdir()
    torch.save(encoder.state_dict(), folder / "encoder" / "encoder.pt")
    mean, std = (0.45,) * 3, (0.225,) * 3
    EncoderFiles.describe(folder / "encoder", spec.model_dump(mode="json"), mean=mean, std=std)
    files = EncoderFiles.open(folder / "encoder")
    shards = make_shards(folder / "shards", options.videos)
    stage = ExtractFeatures(preset=options.preset, random_seed=None)
    device = pick_device(options.device, 0)
    encoder.to(device)
    clips: list[torch.Tensor] = []

    def bare() -> None:
        with torch.inference_mode():
            for clips_NTHWC in clips:
                pixels = normalise(clips_NTHWC.to(device), mean=mean, std=std)
                for vectors in pool(encoder(pixels)).values():
                    vectors.cpu()

    memory: list[float] = []

    def streamed() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as work:  # what is there is not done again
            context = Context(
                work=Path(work),
                device=options.device,
                progress=lambda share, text: (
                    memory.append(_own_memory()) if options.memory else None
                ),
            )
            stage.run(encoder=files, shards=shards, ctx=context)

    streamed()
    if options.memory:
        half = len(memory) // 2
        print(
            f"{options.videos} videos: at most {max(memory[:half]):.0f} MiB in the first half, "
            f"{max(memory[half:]):.0f} in the second"
        )
        return
    clips += [torch.from_numpy(stage.cut(video)) for video in shards.values()]
    bare()
    best = {name: dict.fromkeys(CLOCKS, np.inf) for name in ("bare", "streamed")}
    for _ in range(options.rounds):
        for name, work in (("bare", bare), ("streamed", streamed)):
            spent = timed(work)
            best[name] = {clock: min(best[name][clock], spent[clock]) for clock in CLOCKS}
    count = len(clips) * stage.num_views
    print(f"{count} clips, {os.cpu_count()} cores, best of {options.rounds}")
    for clock in CLOCKS:
        one, other = (best[name][clock] for name in ("bare", "streamed"))
        print(f"{clock}: bare {one:.2f} s, streamed {other:.2f} s, {one / other:.2f}")


def _own_memory() -> float:
    """MiB of this process, without pages of mapped files, which the system takes back."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def make_shards(folder: Path, count: int) -> Items[Shard]:
    """Videos of 150 frames of 240 x 320, smooth and moving, as JPEG of the usual size."""
    parts = [range(first, min(first + PART, count)) for first in range(0, count, PART)]
    return Items(Shard, [_make_part(folder / str(part.start), part) for part in parts])


def _make_part(folder: Path, numbers: range) -> Path:
    folder.mkdir(parents=True)
    items = {}
    for i in numbers:
        rng = np.random.default_rng(i)
        small = rng.integers(0, 256, (24, 32, 3), np.uint8)
        picture = cv2.resize(small, (480, 360), interpolation=cv2.INTER_CUBIC)
        jpegs = [
            encode_jpeg(
                np.ascontiguousarray(picture[t // 2 : t // 2 + 240, t : t + 320]), quality=90
            )
            for t in range(150)
        ]
        items[f"{i}.mp4"] = Shard(
            video_id=f"{i}.mp4",
            jpegs=jpegs,
            pts_seconds=np.arange(150) / 25,
            source_frames=np.arange(150, dtype=np.int32),
            height=240,
            width=320,
            probe=Probe(codec="h264", frames_expected=150, frames_decoded=150),
        ).to_tables()
    Shard.write_part(folder, items)
    return folder


def timed(work: Callable[[], None]) -> dict[str, float]:
    """Seconds by each clock."""
    started = {name: clock() for name, clock in CLOCKS.items()}
    work()
    return {name: clock() - started[name] for name, clock in CLOCKS.items()}


def probe(videos: int = 10_000, classes: int = 101, channels: int = 512) -> None:
    """Logistic regression and retrieval on vectors whose classes overlap."""
    rng = np.random.default_rng(0)
    labels = np.arange(videos + 4000) % classes
    centres = rng.normal(size=(classes, channels))
    vectors = (0.15 * centres[labels] + rng.normal(size=(len(labels), channels))).astype(np.float32)
    train, test = vectors[:videos], vectors[videos:]
    started = time.process_time()
    _, scores = probe_scores(
        train, labels[:videos], test,
        num_classes=classes, inverse_regularisation=0.1, max_iterations=2000,
    )  # fmt: skip
    spent = time.process_time() - started
    accuracy = (scores.argmax(1) == labels[videos:]).mean()
    print(f"linear probe, {videos} videos x {channels}: {spent:.1f} s CPU, top-1 {accuracy:.2f}")
    started = time.process_time()
    nearest(test, train, 50)
    spent = time.process_time() - started
    print(f"50 nearest of {videos} for {len(test)} queries: {spent:.1f} s CPU")


if __name__ == "__main__":
    main()
