"""Quality and speed of tubes: procedural scenes with exact truth, real sequences where present.

``python benchmarks/tubes.py`` prints the tables of `docs/quality.md`. The scenes are those of
`benchmarks.scenes.grid` with the held-out seeds 211..214; 1..10 and 41..50 are for tuning
(``--seeds 1 2``).
Annotated sequences in MOT format (``NAME.mp4`` beside ``NAME.txt``) are read from the folder
of ``--mot`` or ``TUBELET_MOT``; without one the table says so. ``--track`` gives parameters:
``--track '{"min_area": 0.002}'``. Other back-ends, on a few scenes:
``--backend saliency --seeds 211 --only "1 object" stopping --skip mot speed``; `features` takes
the weights of ``--encoder FILE`` and without them draws them, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import motmetrics
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.scenes import Scene, grid, render
from stages.decode.decode import Decode
from stages.track.track import Track
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames
from storage_schemas.videos import VideoFile

CLIPS = sorted((Path(__file__).parents[1] / "assets" / "clips").glob("*.mp4"))
HELD_OUT = (211, 212, 213, 214)
ROUNDS = 3
_SEEN = 0.25  # an object that shows less than this share of itself is not asked for
_MATCH = 0.5  # IoU of boxes that belong together


@dataclass(frozen=True)
class Quality:
    """Figures of one video; NaN where there is nothing to measure.

    ``mask_iou`` and ``box_iou`` are means over objects of the best tube's IoU, over all
    frames that show the object or have the tube. ``valid_precision`` is the share of valid
    frames whose mask lies on the tube's object by more than half, ``valid_recall`` the share
    of the objects' visible frames that are valid in a tube of theirs.
    """

    mask_iou: float
    box_iou: float
    valid_precision: float
    valid_recall: float
    tubes: int
    objects: int


def measure(boxes: Boxes, scene: Scene) -> Quality:
    """Figures of the tubes of a scene."""
    tracks = [] if boxes.track is None else np.unique(boxes.track).tolist()
    objects = len(scene.masks_KTHW)
    mask_iou, box_iou, shared = np.zeros((3, objects, len(tracks)))
    inside = []
    for j, track in enumerate(tracks):
        rows = np.flatnonzero(boxes.track == track)
        found = np.stack([boxes.mask(int(row)) for row in rows])
        for k in range(objects):
            truth = scene.masks_KTHW[k, boxes.frame[rows]]
            asked = scene.visibility_KT[k] >= _SEEN
            has = np.isin(np.arange(len(asked)), boxes.frame[rows])
            asks = asked | (has & (scene.visibility_KT[k] == 0))  # in between: no one asks
            both = (found & truth).sum((1, 2))
            counts = asks[boxes.frame[rows]]
            mask_iou[k, j] = (both / (found | truth).sum((1, 2)))[counts].sum() / asks.sum()
            visible = truth.any((1, 2)) & counts
            box_iou[k, j] = (
                iou_pairs(boxes.xyxy[rows[visible]], boxes_of(truth[visible])).sum() / asks.sum()
            )
            shared[k, j] = both.sum()
        inside.append((rows, found))
    right, valid, reached = 0, 0, 0
    for j, track in enumerate(tracks):
        rows, found = inside[j]
        sure = np.isin(boxes.frame[rows], boxes.valid_frames(track))
        valid += int(sure.sum())
        if objects:
            mine = scene.masks_KTHW[int(shared[:, j].argmax()), boxes.frame[rows]]
            good = (found & mine).sum((1, 2)) > 0.5 * found.sum((1, 2))
            right += int((sure & good).sum())
    for k in range(objects):
        own = [boxes.valid_frames(t) for j, t in enumerate(tracks) if shared[:, j].argmax() == k]
        frames = np.unique(np.concatenate(own)) if own else np.zeros(0, int)
        reached += int((scene.visibility_KT[k][frames.astype(int)] >= _SEEN).sum())
    asked_all = int((scene.visibility_KT >= _SEEN).sum())
    return Quality(
        mask_iou=float(mask_iou.max(1, initial=0).mean()) if objects else np.nan,
        box_iou=float(box_iou.max(1, initial=0).mean()) if objects else np.nan,
        valid_precision=right / valid if valid else np.nan,
        valid_recall=reached / asked_all if asked_all else np.nan,
        tubes=len(tracks),
        objects=objects,
    )


def boxes_of(masks_NHW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Boxes (N, 4) of masks that are not empty."""
    ys, xs = masks_NHW.any(2), masks_NHW.any(1)
    height, width = masks_NHW.shape[1:]
    corners = [xs.argmax(1), ys.argmax(1)]
    corners += [width - xs[:, ::-1].argmax(1), height - ys[:, ::-1].argmax(1)]
    return np.stack(corners, axis=1).astype(np.float32)


def iou_pairs(a_N4: NDArray[np.float32], b_N4: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU (N,) of the boxes of each row."""
    size = np.clip(
        np.minimum(a_N4[:, 2:], b_N4[:, 2:]) - np.maximum(a_N4[:, :2], b_N4[:, :2]), 0, None
    )
    area = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a_N4, b_N4)]
    both = size.prod(1)
    return np.asarray(both / (area[0] + area[1] - both), np.float32)


def accumulate(found: Boxes, truth: Boxes, optional: Boxes | None = None) -> Any:
    """A `motmetrics` accumulator of one video.

    Found boxes that match one of `optional` (barely visible objects) count neither way.
    """
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for t in range(truth.num_frames):
        rows, wanted = found.in_frame(t), truth.in_frame(t)
        have, ids = found.xyxy[rows], [] if found.track is None else found.track[rows].tolist()
        want, names = (
            truth.xyxy[wanted],
            [] if truth.track is None else truth.track[wanted].tolist(),
        )
        distance = 1 - iou_table(want, have)
        if optional is not None and len(have):
            spared = iou_table(optional.xyxy[optional.in_frame(t)], have)
            keep = (spared.max(0, initial=0) < _MATCH) | (distance.min(0, initial=1) <= 1 - _MATCH)
            distance, ids = distance[:, keep], [i for i, k in zip(ids, keep, strict=True) if k]
        distance[distance > 1 - _MATCH] = np.nan
        accumulator.update(names, ids, distance)
    return accumulator


def iou_table(a_N4: NDArray[np.float32], b_M4: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU (N, M); motmetrics' own needs NumPy 1 (it calls ``asfarray``)."""
    rows, columns = np.divmod(np.arange(len(a_N4) * len(b_M4)), max(1, len(b_M4)))
    return iou_pairs(a_N4[rows], b_M4[columns]).reshape(len(a_N4), len(b_M4)).astype(np.float64)


def summarise(accumulators: list[Any]) -> tuple[float, float, int]:
    """IDF1, MOTA and identity switches over several videos."""
    table = motmetrics.metrics.create().compute_many(
        accumulators, metrics=["idf1", "mota", "num_switches"], generate_overall=True
    )
    idf1, mota, switches = table.loc["OVERALL"]
    return float(idf1), float(mota), int(switches)


def split_truth(scene: Scene) -> tuple[Boxes, Boxes]:
    """Truth that is asked for, and barely visible objects."""
    truth = scene.truth()
    assert truth.score is not None
    assert truth.track is not None
    sides = []
    for keep in (truth.score >= _SEEN, truth.score < _SEEN):
        sides.append(
            Boxes(
                truth.video_id,
                truth.num_frames,
                truth.height,
                truth.width,
                frame=truth.frame[keep],
                xyxy=truth.xyxy[keep],
                track=truth.track[keep],
            )
        )
    return sides[0], sides[1]


def scene_table(stage: Track, seeds: Iterable[int], only: list[str]) -> Table:
    """Quality by difficulty, and frames a second of all scenes together."""
    columns = ("mask IoU", "box IoU", "IDF1", "MOTA", "switches", "valid precision")
    table = Table("scene", *columns, "valid recall", "tubes / objects")
    groups: dict[str, list[tuple[Quality, Any]]] = {}
    count, seconds = 0, 0.0
    for seed in seeds:
        for name, spec in grid(seed):
            if not any(text in name for text in only):
                continue
            scene = render(spec)
            frames = scene.frames()
            started = time.process_time()
            boxes = stage.process(frames=frames)
            count, seconds = count + len(frames), seconds + time.process_time() - started
            wanted, optional = split_truth(scene)
            groups.setdefault(name, []).append(
                (measure(boxes, scene), accumulate(boxes, wanted, optional))
            )
    everything = [one for rows in groups.values() for one in rows]
    for name, rows in [*groups.items(), ("all", everything)]:
        measured = [one for one, _ in rows]
        tubes, objects = sum(q.tubes for q in measured), sum(q.objects for q in measured)
        idf1, mota, switches = summarise([a for _, a in rows]) if objects else (np.nan, np.nan, 0)
        table.add_row(
            name,
            *(_mean(q.mask_iou for q in measured), _mean(q.box_iou for q in measured)),
            *(f"{idf1:.2f}", f"{mota:.2f}", str(switches)),
            _mean(q.valid_precision for q in measured),
            _mean(q.valid_recall for q in measured),
            f"{tubes} / {objects}",
        )
    table.title = (
        f"back-end {stage.backend.name}, procedural scenes, seeds {' '.join(map(str, seeds))}, "
        f"320x240, {count / max(seconds, 1e-9):.0f} frames/s of CPU time"
    )
    return table


def _mean(values: Iterable[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.mean(known):.2f}" if known else "-"


def read_mot(path: Path, frames: Frames, scale: float) -> Boxes:
    """Truth of a sequence: ``frame,id,left,top,width,height,...`` with 1-based frames."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    corner, size = rows[:, 2:4], rows[:, 4:6]
    bounds = [frames.width, frames.height] * 2
    xyxy = np.clip(np.concatenate([corner, corner + size], axis=1) * scale, 0, bounds)
    keep = (xyxy[:, 2:] > xyxy[:, :2]).all(1) & (rows[:, 0] <= len(frames))
    return Boxes(
        frames.video_id,
        len(frames),
        frames.height,
        frames.width,
        frame=(rows[keep, 0] - 1).astype(np.int32),
        xyxy=xyxy[keep].astype(np.float32),
        track=rows[keep, 1].astype(np.int32),
    )


def mot_table(stage: Track, folder: Path | None) -> Table:
    """Annotated real sequences."""
    table = Table("sequence", "frames", "IDF1", "MOTA", "switches", "tubes / objects")
    table.title = "real street sequences, static camera"
    paths = sorted(folder.glob("*.mp4")) if folder else []
    if not paths:
        table.title += ": none at hand (give --mot FOLDER or TUBELET_MOT)"
    for path in paths:
        frames = decode(path, 240)
        truth = read_mot(
            path.with_suffix(".txt"), frames, frames.height / frames.probe.source_height
        )
        found = stage.process(frames=frames)
        idf1, mota, switches = summarise([accumulate(found, truth)])
        assert truth.track is not None
        counts = [0 if b.track is None else len(np.unique(b.track)) for b in (found, truth)]
        figures = (f"{idf1:.2f}", f"{mota:.2f}", str(switches), f"{counts[0]} / {counts[1]}")
        table.add_row(path.stem, str(len(frames)), *figures)
    return table


def decode(path: Path, short_side: int) -> Frames:
    """Frames of a video file as the pipeline stores them."""
    video = VideoFile(path.name, "", path.stat().st_size, path)
    return Decode(short_side=short_side).process(videos=video)


def speed_table(stage: Track) -> Table:
    """Frames a second of the stage, beside the library calls it stands on."""
    title = f"speed on {len(CLIPS)} real clips, one thread, CPU time, best of {ROUNDS} rounds"
    table = Table("short side", "frames", "tubes, frames/s", "JPEG + DIS", "ratio", title=title)
    for side in (128, 240):
        videos = [decode(path, side) for path in CLIPS]
        count = sum(map(len, videos))
        ours, bare = compare(
            lambda videos=videos: [stage.process(frames=v) for v in videos],  # type: ignore[misc]
            lambda videos=videos: [bare_flow(v) for v in videos],  # type: ignore[misc]
        )
        figures = (f"{count / ours:.0f}", f"{count / bare:.0f}", f"{ours / bare:.2f}")
        table.add_row(str(side), str(count), *figures)
    return table


def bare_flow(frames: Frames) -> None:
    """Grey frames near short side 128 and one DIS flow a pair, what a user would write."""
    flag = cv2.IMREAD_GRAYSCALE
    if min(frames.height, frames.width) >= 240:
        flag = cv2.IMREAD_REDUCED_GRAYSCALE_2
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
    dis.setFinestScale(1)
    last = None
    for jpeg in frames.jpegs:
        grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag)
        if last is not None:
            dis.calc(grey, last, None)
        last = grey


def compare(ours: Callable[[], object], bare: Callable[[], object]) -> tuple[float, float]:
    """Least CPU seconds of both, taken in turns."""
    pairs = [(_seconds(ours), _seconds(bare)) for _ in range(ROUNDS)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def weights(given: Path | None, folder: Path, console: Console) -> Path:
    """Encoder file for `features`; without one, a random r3d18 of width 16, seed 0."""
    if given:
        return given
    import torch

    from stages.learning.encoder_spec import EncoderSpec
    from stages.learning.encoders import random_encoder

    torch.set_num_threads(1)
    path = folder / "encoder.pt"
    torch.save(random_encoder(EncoderSpec(width=16), seed=0).state_dict(), path)
    console.print("no --encoder: features of a random r3d18 of width 16, seed 0, not trained")
    return path


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--seeds", type=int, nargs="*", default=HELD_OUT)
    parser.add_argument("--only", nargs="*", default=[""], help="scenes named like one of these")
    parser.add_argument("--mot", type=Path, default=os.environ.get("TUBELET_MOT"))
    parser.add_argument("--track", default="{}", help="parameters of the stage as JSON")
    parser.add_argument("--backend", default="motion", help="motion, saliency or features")
    parser.add_argument("--encoder", type=Path, help="encoder.pt for the back-end features")
    parser.add_argument("--skip", nargs="*", default=[], choices=["scenes", "mot", "speed"])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        backend = {"name": options.backend}
        if options.backend == "features":
            backend["weights"] = str(weights(options.encoder, Path(folder), console))
        stage = Track.model_validate({"backend": backend, **json.loads(options.track)})
        _print_tables(stage, options, console)


def _print_tables(stage: Track, options: argparse.Namespace, console: Console) -> None:
    if "scenes" not in options.skip:
        console.print(scene_table(stage, options.seeds, options.only))
    if "mot" not in options.skip:
        console.print(mot_table(stage, Path(options.mot) if options.mot else None))
    if "speed" not in options.skip:
        console.print(speed_table(stage))


if __name__ == "__main__":
    main()
