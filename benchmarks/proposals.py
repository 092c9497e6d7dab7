"""Proposals beside exact truth: recall and speed of every back-end, in one run.

``python benchmarks/proposals.py`` scores held-out scenes and times the stages on the real
clips; ``--tune`` scores the scenes that parameters were chosen on. One thread; CPU time.

A scene is one frame of `scenes`; half of them are crops enlarged to the frame, so that
objects span about a fifth to a half of its height. Recall at an IoU is the share of
objects with a proposal of at least that IoU; boundary recall the share of the objects'
border pixels with a segment's border within 2 pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scenes import SceneSpec, render
from skimage.segmentation import felzenszwalb, slic

from stages.decode.decode import Decode
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.segment_stage import ProposalStage, SegmentStage
from stages.propose.slic import Slic
from storage_schemas.frames import Frames, Probe
from storage_schemas.jpeg import encode_jpeg
from storage_schemas.videos import VideoFile

CLIPS = sorted((Path(__file__).parents[1] / "assets" / "clips").glob("*.mp4"))
CONTRASTS = (1.0, 0.6, 0.35)
TUNING, HELD_OUT = range(0, 60), range(1000, 1064)
STORED: dict[str, Any] = {"backend": "skimage", "short_side": None}


class OtherSuperpixels(SegmentStage, name="other_superpixels", version=1):
    """What OpenCV has besides SLIC, at its own settings; they were not taken."""

    algorithm: str
    short_side: int | None = 60

    def segment(self, frame_HWC: NDArray[np.uint8], shrink: float) -> list[NDArray[np.integer]]:
        """One label map (h, w), about 16 segments."""
        lab = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2LAB)
        height, width = lab.shape[:2]
        side = round((height * width / 16) ** 0.5)
        if self.algorithm == "SLICO":
            found = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLICO, side)
            found.iterate(10)
            found.enforceLabelConnectivity(25)
        elif self.algorithm == "LSC":
            found = cv2.ximgproc.createSuperpixelLSC(lab, side)
            found.iterate(10)
            found.enforceLabelConnectivity(25)
        elif self.algorithm == "SEEDS":
            found = cv2.ximgproc.createSuperpixelSEEDS(width, height, 3, 16, 4, 2, 5)
            found.iterate(lab, 4)
        else:
            found = cv2.ximgproc.createScanSegment(width, height, 16, 1, True)
            found.iterate(lab)
        labels = np.asarray(found.getLabels())
        return [labels - labels.min()]  # ScanSegment leaves pixels of no segment at -1


SKIMAGE: dict[str, Any] = {"backend": "skimage"}
STAGES: dict[str, ProposalStage] = {
    "slic, scikit-image's own settings": Slic(**STORED, sigma=1.0, min_area=0.5),
    "slic, scikit-image, stored size": Slic(**STORED, sigma=1.0),
    "slic, scikit-image, stored size, 20 of sigma 3": Slic(**STORED, num_segments=20),
    "slic, scikit-image": Slic(**SKIMAGE),
    "slic, OpenCV": Slic(backend="opencv"),
    "slic, numpy, each frame from the grid": Slic(warm_start=False),
    "slic (default)": Slic(),
    "slic, scikit-image, 64 segments": Slic(**SKIMAGE, num_segments=64),
    "slic, scikit-image, 64, short side 120": Slic(**SKIMAGE, num_segments=64, short_side=120),
    "slic, scikit-image, 64, stored size": Slic(**STORED, num_segments=64),
    "slic, 64 segments": Slic(num_segments=64),
    "slic, 64 segments, short side 120": Slic(num_segments=64, short_side=120),
    **{
        f"other, {name}{where}": OtherSuperpixels(algorithm=name, short_side=side)
        for name in ("SLICO", "LSC", "SEEDS", "ScanSegment")
        for side, where in ((None, ", stored size"), (60, ""))
    },
    "felzenszwalb, scikit-image, stored size": Felzenszwalb(**STORED, sigma=0.8, min_area=1.0),
    "felzenszwalb, stored size, scales 200 and 400": Felzenszwalb(
        **STORED, sigma=0.8, min_area=1.0, scales=(200, 400)
    ),
    "felzenszwalb, scikit-image, short side 120": Felzenszwalb(**SKIMAGE, short_side=120),
    "felzenszwalb, scikit-image": Felzenszwalb(**SKIMAGE),
    "felzenszwalb, OpenCV, short side 120": Felzenszwalb(short_side=120),
    "felzenszwalb, OpenCV, min_area 1": Felzenszwalb(min_area=1.0),
    "felzenszwalb, OpenCV (default)": Felzenszwalb(),
    "random": RandomBoxes(),
    "random, 16 boxes": RandomBoxes(num_boxes=16),
    "random, correlated": RandomBoxes(draws="correlated"),
}


@dataclass(frozen=True)
class Case:
    """One frame with its objects."""

    frames: Frames
    masks: Sequence[NDArray[np.bool_]]
    contrast: float


def cases(seeds: Sequence[int]) -> Iterator[Case]:
    """One frame a seed and contrast, every other one a crop."""
    for seed in seeds:
        for contrast in CONTRASTS:
            rng = np.random.default_rng(seed)
            spec = SceneSpec(
                seed=seed, objects=1 + seed % 4, contrast=contrast, num_frames=1, noise=3.0
            )
            scene = render(spec)
            image, masks = scene.frames_THWC[0], scene.masks_KTHW[:, 0]
            if seed % 8 >= 4:
                ys, xs = np.nonzero(masks[0])
                h, w = (int(side * rng.uniform(0.5, 0.8)) for side in image.shape[:2])
                y = int(np.clip(ys.mean() - h * rng.uniform(0.3, 0.7), 0, len(image) - h))
                x = int(np.clip(xs.mean() - w * rng.uniform(0.3, 0.7), 0, image.shape[1] - w))
                size = (spec.width, spec.height)
                image = np.asarray(cv2.resize(image[y : y + h, x : x + w], size), np.uint8)
                small = masks[:, y : y + h, x : x + w].astype(np.uint8)
                masks = np.stack([cv2.resize(m, size) for m in small]) > 0
            yield Case(
                frames=Frames(
                    video_id=scene.video_id,
                    jpegs=[encode_jpeg(image, quality=90)],
                    pts_seconds=np.zeros(1),
                    source_frames=np.zeros(1, np.int32),
                    height=spec.height,
                    width=spec.width,
                    probe=Probe(frames_expected=1, frames_decoded=1),
                ),
                masks=[mask for mask in masks if mask.sum() >= 400],
                contrast=contrast,
            )


def best_iou(boxes_N4: NDArray[np.float32], mask_HW: NDArray[np.bool_]) -> float:
    """IoU of an object's tight box with the proposal nearest to it."""
    ys, xs = np.nonzero(mask_HW)
    truth = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    low = np.maximum(boxes_N4[:, :2], truth[:2])
    shared = np.clip(np.minimum(boxes_N4[:, 2:], truth[2:]) - low, 0, None).prod(axis=1)
    areas = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)
    whole = float((truth[2:] - truth[:2]).prod())
    return float((shared / (areas + whole - shared)).max(initial=0))


def boundary_recall(stage: SegmentStage, case: Case) -> list[float]:
    """Of each object; the union of the borders of all label maps of the stage."""
    found = np.zeros((case.frames.height, case.frames.width), np.uint8)
    for labels in stage.frame_maps(case.frames, 0):
        stored = cv2.resize(labels.astype(np.int32), found.shape[::-1], interpolation=0)
        found |= borders(np.asarray(stored)).astype(np.uint8)
    near = cv2.dilate(found, np.ones((5, 5), np.uint8)) > 0
    return [float(near[borders(mask)].mean()) for mask in case.masks]


def quality(stages: dict[str, ProposalStage], scenes: Sequence[Case]) -> Iterator[list[str]]:
    """Recall of each stage, a row each after the header."""
    yield ["", "ms", "boxes", "IoU .5", "IoU .7", *(f"at {c}" for c in CONTRASTS), "borders"]
    for name, stage in stages.items():
        ious: list[tuple[float, float]] = []
        count, spent, edges = 0, 0.0, []
        for case in scenes:
            started = time.process_time()
            boxes = stage.process(frames=case.frames).xyxy
            spent += 1000 * (time.process_time() - started)
            count += len(boxes)
            ious += [(best_iou(boxes, mask), case.contrast) for mask in case.masks]
            if isinstance(stage, SegmentStage) and case.contrast == CONTRASTS[1]:
                edges += boundary_recall(stage, case)
        best, contrast = np.array(ious).T
        shares = [best >= 0.5, best >= 0.7, *((best >= 0.5)[contrast == c] for c in CONTRASTS)]
        numbers = [spent / len(scenes), count / len(scenes), *(share.mean() for share in shares)]
        yield [name, *(f"{n:.3f}" for n in numbers), f"{np.mean(edges):.3f}" if edges else "-"]


def moving(stages: dict[str, ProposalStage], seeds: Sequence[int]) -> Iterator[list[str]]:
    """Recall of SLIC in every 4th frame of moving scenes, which it may follow; a row each."""
    scenes = [
        render(
            SceneSpec(
                seed=seed,
                objects=1 + seed % 4,
                contrast=CONTRASTS[seed % 3],
                camera=("none", "pan", "zoom", "shake")[seed // 4 % 4],
                num_frames=65,
                noise=3.0,
            )
        )
        for seed in seeds
    ]
    clips = [(scene.frames(), scene.masks_KTHW) for scene in scenes]
    yield ["moving scenes", "ms", "boxes", "IoU .5", "IoU .7"]
    for name, stage in stages.items():
        if not isinstance(stage, Slic) or stage.num_segments > 20:
            continue
        stage = stage.model_copy(update={"frame_stride": 4})
        ious: list[float] = []
        count, spent, looked = 0, 0.0, 0
        for frames, masks in clips:
            started = time.process_time()
            boxes = stage.process(frames=frames)
            spent += 1000 * (time.process_time() - started)
            count += len(boxes)
            for t in range(0, len(frames), stage.frame_stride):
                looked += 1
                near = boxes.xyxy[boxes.in_frame(t)]
                ious += [best_iou(near, mask) for mask in masks[:, t] if mask.sum() >= 400]
        best = np.array(ious)
        numbers = [spent / looked, count / looked, (best >= 0.5).mean(), (best >= 0.7).mean()]
        yield [name, *(f"{n:.3f}" for n in numbers)]


def shrunk(image: NDArray[np.uint8], side: int | None) -> tuple[Any, float]:
    """What a user would write: resize, and the factor."""
    k = min(1.0, (side or 10_000) / min(image.shape[:2]))
    return (cv2.resize(image, None, fx=k, fy=k, interpolation=3), k) if k < 1 else (image, k)


def borders(labels_HW: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label."""
    out = np.zeros(labels_HW.shape, np.bool_)
    out[:, :-1] |= labels_HW[:, 1:] != labels_HW[:, :-1]
    out[:-1] |= labels_HW[1:] != labels_HW[:-1]
    return out


def bare(stage: Slic | Felzenszwalb, jpeg: bytes) -> None:
    """Decode, shrink and the library call alone: no filter, no boxes, no table.

    scikit-image's call stands beside our own clustering.
    """
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    image, k = shrunk(np.asarray(image, np.uint8), stage.short_side)
    sigma = stage.sigma * k
    if isinstance(stage, Slic):
        if stage.backend != "opencv":
            n = stage.num_segments
            slic(image, n, 10.0, sigma=sigma, start_label=0, min_size_factor=stage.min_area)
            return
        full = cv2.normalize(image.astype(np.float32), None, 0, 1, cv2.NORM_MINMAX)
        lab = cv2.GaussianBlur(cv2.cvtColor(full, cv2.COLOR_RGB2LAB), (0, 0), sigma)
        side = round((lab.shape[0] * lab.shape[1] / stage.num_segments) ** 0.5)
        found = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, 10.0)
        found.iterate(10)
        found.enforceLabelConnectivity(25)
        found.getLabels()
        return
    for scale in stage.scales:
        least = round(stage.min_area * scale * k * k)
        if stage.backend == "skimage":
            felzenszwalb(image, scale=scale * k, sigma=sigma, min_size=least)
        else:
            create = cv2.ximgproc.segmentation.createGraphSegmentation
            create(sigma, scale * k, least).processImage(image)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def head(video: Frames, count: int) -> Frames:
    """The first frames of a video."""
    columns = ("jpegs", "pts_seconds", "source_frames")
    return replace(video, **{name: getattr(video, name)[:count] for name in columns})


def speed(stages: dict[str, ProposalStage]) -> Iterator[list[str]]:
    """Milliseconds a frame, ours and bare in turns, a row each after the header; medians."""
    decode = Decode(short_side=240)
    files = [VideoFile(path.name, "", path.stat().st_size, path) for path in CLIPS[::2]]
    videos = [head(decode.process(videos=file), 65) for file in files]
    yield ["", "ours, ms", "bare, ms", "ours/bare", "boxes"]
    for name, stage in stages.items():
        if not isinstance(stage, Slic | Felzenszwalb):
            continue
        jpegs = [v.jpegs[t] for v in videos for t in range(0, len(v), stage.frame_stride)]
        count = sum(len(stage.process(frames=v)) for v in videos)  # warms up, too
        pairs: list[tuple[float, float]] = []
        while len(pairs) < 3 or np.sum(pairs) < 2000:
            ours = milliseconds(lambda stage=stage: [stage.process(frames=v) for v in videos])
            alone = milliseconds(lambda stage=stage, all_=jpegs: [bare(stage, j) for j in all_])
            pairs.append((ours, alone))
        ratio = statistics.median(a / b for a, b in pairs)
        times = [statistics.median(column) / len(jpegs) for column in zip(*pairs, strict=True)]
        yield [name, *(f"{n:.2f}" for n in times), f"{ratio:.2f}", f"{count / len(jpegs):.1f}"]


def show(rows: Iterator[list[str]]) -> None:
    """Print rows as they come."""
    for name, *values in rows:
        print(f"{name:46}" + "".join(f"{value:>9}" for value in values), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true", help="score the tuning scenes")
    parser.add_argument("--speed", action="store_true", help="only time the stages")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    stages = {name: stage for name, stage in STAGES.items() if name.startswith(options.only)}
    if not options.speed:
        scenes = list(cases(TUNING if options.tune else HELD_OUT))
        print(f"{len(scenes)} frames, {sum(len(c.masks) for c in scenes)} objects")
        show(quality(stages, scenes))
        show(moving(stages, range(300, 312) if options.tune else range(3200, 3216)))
    if not options.tune:
        show(speed(stages))


if __name__ == "__main__":
    main()
