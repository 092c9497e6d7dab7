"""Our stages beside the bare library calls they stand on, in one run, on the real clips.

``python benchmarks/preprocess.py`` prints ratios (ours / bare): the machine may be shared
and noisy, so absolute times mean little. One thread each. Proposals have their own,
`proposals.py`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from stages.decode.decode import Decode
from stages.shard.shard import MakeShard
from stages.track.track import Track
from storage_schemas.frames import Frames
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import VideoFile

CLIPS = sorted((Path(__file__).parents[1] / "assets" / "clips").glob("*.mp4"))
ROUNDS = 3


def bare_decode(path: Path, short_side: int) -> int:
    """What a user would write: PyAV frames to RGB, OpenCV resize, JPEG."""
    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            scale = short_side / min(image.shape[:2])
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            encode_jpeg(np.asarray(cv2.resize(image, size), np.uint8), quality=90)
            count += 1
    return count


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(ours: Callable[[], object], bare: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, taken in turns."""
    pairs = [(seconds(ours), seconds(bare)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def decode(side: int) -> Callable[[], object]:
    """Our decode of all clips."""
    stage = Decode(short_side=side)
    return lambda: [stage.process(videos=VideoFile(p.name, "", p.stat().st_size, p)) for p in CLIPS]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    videos: list[Frames] = decode(240)()  # type: ignore[assignment]
    frames = sum(map(len, videos))
    table = Table("what", "frames", "ours, s", "bare, s", "ours / bare")

    def add(what: str, count: int, ours: Callable[[], object], bare: Callable[[], object]) -> None:
        a, b = compare(ours, bare)
        table.add_row(what, str(count), f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}")

    for side in (128, 240):
        add(
            f"decode, short side {side} (PyAV + OpenCV + JPEG)",
            frames,
            decode(side),
            lambda side=side: [bare_decode(p, side) for p in CLIPS],  # type: ignore[misc]
        )
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]

    def bare_flow() -> None:
        for video in videos:
            size = (round(video.width * 128 / min(video.height, video.width)), 128)
            grey = [
                cv2.cvtColor(cv2.resize(video.decode([t])[0], size), cv2.COLOR_RGB2GRAY)
                for t in range(len(video))
            ]
            for a, b in itertools.pairwise(grey):
                dis.calc(a, b, None)

    add(
        "track (JPEG decode + one DIS flow alone)",
        frames,
        lambda: [Track().process(frames=v) for v in videos],
        bare_flow,
    )
    add(
        "shard at short side 128 (JPEG decode + resize + JPEG)",
        frames,
        lambda: [MakeShard(short_side=128).process(frames=v) for v in videos],
        lambda: [
            encode_jpeg(np.asarray(cv2.resize(f, (170, 128)), np.uint8), quality=90)
            for v in videos
            for f in v.frames_THWC
        ],
    )
    Console().print(table)


if __name__ == "__main__":
    main()
