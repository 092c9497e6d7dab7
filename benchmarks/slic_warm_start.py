"""Does SLIC gain from centres carried along the flow? Recall and CPU time, warm and cold.

``python benchmarks/slic_warm_start.py`` runs scikit-image's loop, by its private functions,
on moving `scenes`: cold from the grid in every frame, or warm from the centres of the frame
before, moved by DIS flow, with fewer iterations. The figures stand in decision 0009.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from proposals import best_iou
from scenes import SceneSpec, render
from skimage.segmentation._slic import _enforce_label_connectivity_cython, _slic_cython
from skimage.segmentation.slic_superpixels import _get_grid_centroids

from stages.propose.regions import segment_boxes
from stages.propose.slic import Slic, lab_colours

STAGE = Slic()
SEEDS = range(3000, 3024)
DIS = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)


def features(frame_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is clustered: (1, h, w, 3)."""
    small = cv2.resize(frame_HWC, (80, 60), interpolation=cv2.INTER_AREA)
    lab = lab_colours(np.asarray(small, np.uint8), sigma=STAGE.sigma / 4)
    return lab[None] / np.float32(STAGE.compactness)


def carried(centres_N6: NDArray[np.float32], flow_HW2: NDArray[np.float32]) -> None:
    """Move centres (0, y, x, colour) of a 60 x 80 image by the flow of a 120 x 160 one."""
    y, x = (2 * centres_N6[:, 1:3]).astype(int).T
    near = np.arange(-4, 5)
    ys = np.clip(y[:, None, None] + near[:, None], 0, 119)
    xs = np.clip(x[:, None, None] + near, 0, 159)
    step_N2 = np.median(flow_HW2[ys, xs], axis=(1, 2)) / 2
    centres_N6[:, 1] = np.clip(centres_N6[:, 1] + step_N2[:, 1], 0, 59)
    centres_N6[:, 2] = np.clip(centres_N6[:, 2] + step_N2[:, 0], 0, 79)


def run(
    clip: Sequence[NDArray[np.uint8]], *, iterations: int, warm: bool, flow: bool
) -> tuple[list[NDArray[np.float32]], float]:
    """Boxes of each frame, and CPU seconds of the frames after the first."""
    found: list[NDArray[np.float32]] = []
    centres, before, started = np.zeros((0, 6), np.float32), None, 0.0
    for t, frame in enumerate(clip):
        if t == 1:
            started = time.process_time()
        image = features(frame)
        grid, steps = _get_grid_centroids(image, STAGE.num_segments)
        if t == 0 or not warm:
            centres = np.concatenate([grid, np.zeros((len(grid), 3))], axis=1, dtype=np.float32)
        if flow:
            half = cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA)
            grey = cv2.cvtColor(half, cv2.COLOR_RGB2GRAY)
            if before is not None:
                carried(centres, DIS.calc(before, grey, None))
            before = grey
        labels = _slic_cython(
            image, None, centres, max(steps), 10 if t == 0 else iterations,
            np.ones(3, np.float32), False, ignore_color=False, start_label=0,
        )  # fmt: skip
        area = 60 * 80 / len(centres)
        labels = _enforce_label_connectivity_cython(
            labels, int(STAGE.min_area * area), int(3 * area), start_label=0
        )[0]
        boxes = segment_boxes(labels, min_side=STAGE.min_side, max_side=STAGE.max_side)[1]
        found.append(4 * boxes)
    return found, time.process_time() - started


def main() -> None:
    """Print a row for each stride and way."""
    cv2.setNumThreads(1)
    scenes = [
        render(SceneSpec(seed=seed, objects=1 + seed % 4, camera="pan", num_frames=33, noise=3.0))
        for seed in SEEDS
    ]
    print(f"{'stride':>6}  {'way':28} {'IoU .5':>8} {'IoU .7':>8} {'boxes':>6} {'ms':>6}")
    ways = {f"cold, {n} iterations": (n, False, False) for n in (3, 5, 10)}
    for n in (2, 3):
        ways[f"warm, {n} iterations"] = (n, True, False)
        ways[f"warm by flow, {n} iterations"] = (n, True, True)
    for stride in (1, 8):
        times = range(0, 33, stride)
        for name, (iterations, warm, flow) in ways.items():
            ious, count, seconds, frames = [], 0, 0.0, 0
            for scene in scenes:
                clip = [scene.frames_THWC[t] for t in times]
                boxes, spent = run(clip, iterations=iterations, warm=warm, flow=flow)
                seconds += spent
                for t, one in list(zip(times, boxes, strict=True))[1:]:
                    frames += 1
                    count += len(one)
                    masks = [m for m in scene.masks_KTHW[:, t] if m.sum() >= 400]
                    ious += [best_iou(one, mask) for mask in masks]
            best = np.array(ious)
            print(
                f"{stride:6}  {name:28} {(best >= 0.5).mean():8.3f} {(best >= 0.7).mean():8.3f} "
                f"{count / frames:6.1f} {1000 * seconds / frames:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
