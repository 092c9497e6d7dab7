"""What SLIC gains from the centres of the frame before: recall and CPU time, warm and cold.

``python benchmarks/slic_warm_start.py`` clusters moving `scenes` in every way and prints a
table for strides of 1 and 8, one for the frames around a cut, and how many pixels have
scikit-image's label. Milliseconds of segmentation alone, one thread. The figures stand in
decision 0009. ``--tune`` takes the scenes that iterations and limits were chosen on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from proposals import best_iou
from scenes import Scene, SceneSpec, render
from skimage.segmentation import slic

from stages.propose.regions import segment_boxes
from stages.propose.slic import Slic, lab_colours
from stages.propose.superpixels import Superpixels, join_small

Image = NDArray[np.uint8]
Labels = NDArray[np.integer]
Way = Callable[[Sequence[Image]], Iterator[Labels]]

STAGE = Slic()
SIZE = 80, 60
SHRINK = SIZE[1] / 240
CLUSTERS = Superpixels(60, 80, num_segments=STAGE.num_segments, compactness=STAGE.compactness)
LEAST = int(STAGE.min_area * CLUSTERS.mean_area)
DIS = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)


def ours(*, cold: int, warm: int = 0, run: int = 32, every: int = 2, flow: bool = False) -> Way:
    """Centres carried on for `run` frames; 1 begins each of them at the grid."""

    def way(clip: Sequence[Image]) -> Iterator[Labels]:
        centres, before = None, None
        for t, image in enumerate(clip):
            lab = lab_colours(image, sigma=STAGE.sigma * SHRINK)
            if t % run == 0:
                centres = None
            if flow:
                grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
                if centres is not None and before is not None:
                    moved(centres, DIS.calc(before, grey, None))
                before = grey
            steps = cold if centres is None else warm
            labels, centres = CLUSTERS.cluster(lab, centres, iterations=steps, every=every)
            yield join_small(labels, least=LEAST)

    return way


def moved(centres_K5: NDArray[np.float64], flow_HW2: NDArray[np.float32]) -> None:
    """Move centres by the median flow of the 9 x 9 pixels around them."""
    y, x = centres_K5[:, :2].round().astype(int).T
    near = np.arange(-4, 5)
    ys = np.clip(y[:, None, None] + near[:, None], 0, SIZE[1] - 1)
    xs = np.clip(x[:, None, None] + near, 0, SIZE[0] - 1)
    centres_K5[:, :2] += np.median(flow_HW2[ys, xs], axis=(1, 2))[:, ::-1]
    np.clip(centres_K5[:, :2], 0, (SIZE[1] - 1, SIZE[0] - 1), out=centres_K5[:, :2])


def stage(**parameters: object) -> Way:
    """The stage as it is."""
    made = Slic.model_validate(parameters)

    def way(clip: Sequence[Image]) -> Iterator[Labels]:
        for first in range(0, len(clip), made.run_length):
            run = clip[first : first + made.run_length]
            yield from (maps[0] for maps in made.segment_run(run, SHRINK))

    return way


WAYS: dict[str, Way] = {
    "scikit-image, 10 iterations": stage(backend="skimage"),
    "OpenCV, 10 iterations": stage(backend="opencv"),
    "cold, 10 iterations, all pixels": ours(cold=10, run=1, every=1),
    "cold, 5 iterations": ours(cold=5, run=1),
    "cold, 10 iterations": stage(warm_start=False),
    "warm, 2 iterations": ours(cold=10, warm=2),
    "warm, 3 iterations (default)": stage(),
    "warm, 3 iterations, runs of 16": ours(cold=10, warm=3, run=16),
    "warm, 3 iterations, no end": ours(cold=10, warm=3, run=10**6),
    "warm by flow, 3 iterations": ours(cold=10, warm=3, flow=True),
}


def small(scene: Scene) -> list[Image]:
    """Its frames at the working size."""
    frames = (cv2.resize(one, SIZE, interpolation=cv2.INTER_AREA) for one in scene.frames_THWC)
    return [np.asarray(one, np.uint8) for one in frames]


def ious(labels: Labels, masks: NDArray[np.bool_]) -> list[float]:
    """Of each object large enough with the nearest box."""
    boxes = segment_boxes(labels, min_side=STAGE.min_side, max_side=STAGE.max_side)[1]
    return [best_iou(boxes / np.float32(SHRINK), mask) for mask in masks if mask.sum() >= 400]


def recall(found: Sequence[float]) -> str:
    """At IoU .5 and .7."""
    best = np.array(found)
    return f"{(best >= 0.5).mean():8.3f} {(best >= 0.7).mean():8.3f}"


def strides(scenes: Sequence[Scene], clips: Sequence[list[Image]]) -> None:
    """Print recall and time of the frames after the first."""
    print(f"{'stride':>6}  {'way':34} {'IoU .5':>8} {'IoU .7':>8} {'ms':>6}")
    for stride in (1, 8):
        for name, way in WAYS.items():
            best, seconds, frames = [], 0.0, 0
            for scene, clip in zip(scenes, clips, strict=True):
                chosen = range(0, len(clip), stride)
                maps = way([clip[t] for t in chosen])
                for t in chosen:
                    started = time.process_time()
                    labels = next(maps)
                    if t > 0:
                        seconds += time.process_time() - started
                        frames += 1
                        best += ious(labels, scene.masks_KTHW[:, t])
            print(
                f"{stride:6}  {name:34} {recall(best)} {1000 * seconds / frames:6.2f}", flush=True
            )


def cuts(scenes: Sequence[Scene]) -> None:
    """Print recall in the first frame after a cut, and in the one 8 frames later."""
    print(f"\n{'at a cut':34} {'IoU .5':>8} {'IoU .7':>8}  {'8 later':>7}")
    ways = {
        "cold": stage(warm_start=False),
        "warm, carried over it": ours(cold=10, warm=3),
        "warm (default)": stage(),
    }
    for name, way in ways.items():
        rows: list[list[float]] = [[], []]
        for scene in scenes:
            cut = int(np.flatnonzero(scene.cut_T)[1])
            times, clip = (cut - 8, cut - 1, cut, cut + 8), small(scene)
            *_, at, later = way([clip[t] for t in times])
            rows[0] += ious(at, scene.masks_KTHW[:, cut])
            rows[1] += ious(later, scene.masks_KTHW[:, cut + 8])
        print(f"{name:34} {recall(rows[0])} {recall(rows[1])}", flush=True)


def agreement(clips: Sequence[list[Image]]) -> None:
    """Print the share of pixels with scikit-image's label, before small pieces are joined."""
    for iterations in (1, 2, 10):
        same = []
        for clip in clips:
            lab = lab_colours(clip[0], sigma=STAGE.sigma * SHRINK)
            theirs = slic(
                lab, STAGE.num_segments, STAGE.compactness / float(np.ptp(lab)), iterations,
                convert2lab=False, start_label=0, enforce_connectivity=False,
            )  # fmt: skip
            labels, _ = CLUSTERS.cluster(lab, iterations=iterations)
            same.append((labels == theirs).mean())
        print(f"{iterations} iterations: {np.mean(same):.4f} of pixels, at least {min(same):.4f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true", help="take the tuning scenes")
    base = 400 if parser.parse_args().tune else 3000
    cv2.setNumThreads(1)
    specs = [
        SceneSpec(
            seed=base + i, objects=1 + i % 4, camera=("none", "pan", "zoom", "shake")[i // 4 % 4],
            contrast=(1.0, 0.6, 0.35)[i % 3], num_frames=65, noise=3.0,
        )
        for i in range(48)
    ]  # fmt: skip
    scenes = [render(spec) for spec in specs]
    clips = [small(scene) for scene in scenes]
    strides(scenes, clips)
    cuts(
        [
            render(SceneSpec(seed=base + 100 + i, objects=1 + i % 4, camera="pan", cut=True,
                             contrast=(1.0, 0.6, 0.35)[i % 3], num_frames=48, noise=3.0))
            for i in range(24)
        ]
    )  # fmt: skip
    print()
    agreement(clips)


if __name__ == "__main__":
    main()
