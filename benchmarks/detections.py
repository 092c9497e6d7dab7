"""People found by our detectors, and what a frame costs, on two real street sequences.

``python benchmarks/detections.py --tud FOLDER`` (or ``TUBELET_TUD=FOLDER``) prints three
tables. The folder holds ``TUD-Campus.mp4``, ``TUD-Campus.txt`` and the same of
TUD-Stadtmitte: ground truth in the form of MOT15, which may not be shipped. Every third
frame is looked at; times are CPU time of one thread, JPEG decoding and NMS included. The
third table is of a clip that ships, and needs no folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from stages.decode.decode import Decode
from stages.detect.detect import Detect
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames, Probe
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import VideoFile

SEQUENCES = ("TUD-Campus", "TUD-Stadtmitte")
STRIDE = 3
WALL = 3  # frames of a wall, down and across
FOLLOWED = Detect(detector="nanodet").score_threshold

Truth = list[NDArray[np.float32]]  # a frame each, xyxy in stored pixels


@dataclass(frozen=True)
class Result:
    """Figures of one detector on one sequence."""

    ap50: float
    precision: float
    recall: float
    milliseconds: float


def load(folder: Path, name: str, short_side: int) -> tuple[Frames, Truth]:
    """A decoded sequence and its people, clipped to the frame."""
    path = folder / f"{name}.mp4"
    frames = Decode(short_side=short_side).process(
        videos=VideoFile(path.name, "", path.stat().st_size, path)
    )
    rows = np.loadtxt(folder / f"{name}.txt", delimiter=",")
    rows = rows[rows[:, 6] != 0]  # confidence 0 marks what does not count
    scale = frames.height / frames.probe.source_height
    xyxy = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1) * scale
    xyxy = np.clip(xyxy, 0, [frames.width, frames.height] * 2).astype(np.float32)
    number = rows[:, 0].astype(int) - 1
    return frames, [xyxy[number == t] for t in range(len(frames))]


def wall(frames: Frames, truth: Truth) -> tuple[Frames, Truth]:
    """Frames side by side as one large frame, WALL x WALL: real people, but small ones."""
    pictures, people = [], []
    for first in range(0, len(frames) - WALL**2 + 1, WALL**2):
        images = frames.decode(range(first, first + WALL**2))
        rows = [np.hstack(images[i : i + WALL]) for i in range(0, WALL**2, WALL)]
        pictures.append(encode_jpeg(np.vstack(rows), quality=95))
        shifted = []
        for i in range(WALL**2):
            down, across = divmod(i, WALL)
            shift = np.array([across * frames.width, down * frames.height] * 2, np.float32)
            shifted.append(truth[first + i] + shift)
        people.append(np.concatenate(shifted))
    count = len(pictures)
    large = Frames(
        video_id=frames.video_id,
        jpegs=pictures,
        pts_seconds=np.arange(count, dtype=np.float64),
        source_frames=np.arange(count, dtype=np.int32),
        height=WALL * frames.height,
        width=WALL * frames.width,
        probe=Probe(),
    )
    return large, people


def measure(frames: Frames, truth: Truth, stride: int, **parameters: Any) -> Result:
    """Run a detector over every `stride`-th frame."""
    stage = Detect(
        score_threshold=0.01, max_boxes=300, classes=("person",), frame_stride=stride, **parameters
    )
    started = time.process_time()
    found = stage.process(frames=frames)
    looked_at = range(0, len(frames), stride)
    spent = (time.process_time() - started) / len(looked_at)
    scores, hits, count = match(found, truth, looked_at)
    kept = scores >= FOLLOWED
    return Result(
        ap50=average_precision(scores, hits, count),
        precision=float(hits[kept].mean()) if kept.any() else 0.0,
        recall=float(hits[kept].sum() / count),
        milliseconds=1000 * spent,
    )


def match(
    found: Boxes, truth: Truth, frames: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Scores, whether each box is right at IoU 0.5, and the number of people."""
    scores, hits = [], []
    for t in frames:
        rows = found.in_frame(t)
        boxes, people = found.xyxy[rows], truth[t]
        assert found.score is not None
        overlap = iou(boxes, people)
        for i in range(len(boxes)):  # best first, as the stage sorts them
            best = int(overlap[i].argmax()) if len(people) else -1
            hit = best >= 0 and overlap[i, best] >= 0.5
            if hit:
                overlap[:, best] = 0  # each person once
            scores.append(found.score[rows][i])
            hits.append(hit)
    return np.array(scores, np.float32), np.array(hits, bool), sum(len(truth[t]) for t in frames)


def iou(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of all pairs, (N, M)."""
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one, two)]
    return overlap / (areas[0][:, None] + areas[1][None] - overlap)


def average_precision(scores: NDArray[np.float32], hits: NDArray[np.bool_], count: int) -> float:
    """Area under the envelope of precision over recall (VOC, all points)."""
    right = hits[np.argsort(-scores, kind="stable")].cumsum()
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(right, prepend=0) * envelope).sum() / count)


def dog() -> Table:
    """Best scores of three classes in the frames of a clip that shows a dog."""
    path = Path(__file__).parents[1] / "assets" / "clips" / "dog.mp4"
    frames = Decode(short_side=240).process(
        videos=VideoFile(path.name, "", path.stat().st_size, path)
    )
    names = ("dog", "cat", "bed")
    made = Table("resize", *names, title="best score of a frame, least to most, dog.mp4")
    for resize in ("fit", "stretch"):
        found = Detect(
            detector={"name": "nanodet", "resize": resize}, score_threshold=0.01, classes=names
        ).process(frames=frames)
        assert found.score is not None
        assert found.label is not None
        labels, cells = np.array(found.label), []
        for name in names:
            best = [
                found.score[(found.frame == t) & (labels == name)].max()
                for t in np.unique(found.frame)
            ]
            cells.append(f"{min(best):.2f} to {max(best):.2f}")
        made.add_row(resize, *cells)
    return made


def table(title: str, rows: dict[str, list[Result]]) -> Table:
    """A line a detector, two columns a sequence."""
    made = Table("detector", title=title)
    for name in SEQUENCES:
        made.add_column(f"{name} AP50")
        made.add_column("precision / recall")
    made.add_column("ms/frame")
    for name, results in rows.items():
        cells = []
        for one in results:
            cells += [f"{one.ap50:.2f}", f"{one.precision:.2f} / {one.recall:.2f}"]
        spent = np.mean([one.milliseconds for one in results])
        made.add_row(name, *cells, f"{spent:.0f}")
    return made


def main() -> int:
    """Print the tables."""
    # Right, wrong, right, wrong, right of four: a worked value.
    worked = average_precision(np.arange(5.0, 0, -1), np.array([1, 0, 1, 0, 1], bool), 4)  # type: ignore[arg-type]
    assert abs(worked - 0.566667) < 1e-6
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tud", type=Path, default=os.environ.get("TUBELET_TUD"))
    parser.add_argument("--only", choices=("stored", "wall", "dog"), help="one table only")
    options = parser.parse_args()
    console = Console(width=120)
    cv2.setNumThreads(1)
    if options.only in (None, "dog"):
        console.print(dog())
    if options.only == "dog":
        return 0
    needed = [f"{name}.{kind}" for name in SEQUENCES for kind in ("mp4", "txt")]
    absent = [n for n in needed if options.tud is None or not (options.tud / n).is_file()]
    if absent:
        console.print(
            f"nothing measured: {', '.join(absent)} not found; give their folder by --tud FOLDER "
            "or TUBELET_TUD"
        )
        return 1
    hog, opencv = {"name": "hog"}, {"name": "nanodet", "runtime": "opencv"}
    stretch = {"name": "nanodet", "resize": "stretch"}
    stored: dict[str, tuple[int, dict[str, Any]]] = {
        "nanodet": (240, {}),
        "nanodet, frames of 480": (480, {}),
        "nanodet, resize=stretch": (240, {"detector": stretch}),
        "nanodet, nms_iou=0.4": (240, {"nms_iou": 0.4}),
        "nanodet, nms_iou=0.6": (240, {"nms_iou": 0.6}),
        "nanodet, runtime=opencv": (240, {"detector": opencv}),
        "nanodet, tiles 2 x 2": (240, {"tiles": {"rows": 2, "columns": 2}}),
        "nanodet, tiles 2 x 2, frames of 480": (480, {"tiles": {"rows": 2, "columns": 2}}),
        "hog": (240, {"detector": hog}),
    }
    if options.only != "wall":
        rows = {
            name: [measure(*load(options.tud, n, side), STRIDE, **more) for n in SEQUENCES]
            for name, (side, more) in stored.items()
        }
        console.print(table("people of 61 to 155 pixels, stored short side 240", rows))
    if options.only != "stored":
        walls = [wall(*load(options.tud, name, 480)) for name in SEQUENCES]
        tiled = {
            f"nanodet, tiles {n} x {n}" if n > 1 else "nanodet": [
                measure(*one, 1, tiles={"rows": n, "columns": n}) for one in walls
            ]
            for n in (1, 2, 3, 4)
        }
        title = f"small people: walls of {WALL} x {WALL} frames, 1920 x 1440 pixels"
        console.print(table(title, tiled))
    return 0


if __name__ == "__main__":
    sys.exit(main())
