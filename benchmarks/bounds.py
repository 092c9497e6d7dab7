"""What could be reached at most in the measurements of ``docs/results.md``.

``python benchmarks/bounds.py`` prints how well frame differences alone order clips by speed,
and how well a contrast can be won by one who knows of each clip its class of motion and
nothing else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from claims import triplets, whole
from numpy.typing import NDArray
from small_trainings import WORLDS, Data, make

from stages.sources.motion_shapes import CLASSES

_LAG = 4  # frames of a clip over which a longer difference is taken
# What a flip leaves of the classes: right and left are one, and so are both turns.
_FLIPPED = np.array([0, 0, 1, 2, 3, 4, 5, 5])
_ROUNDS = 20_000


def pace(clip_THWC: NDArray[np.uint8]) -> float:
    """Change from frame to frame, as a share of that over four frames: grows with speed.

    Both grow with contrast and with the size of what moves, which the ratio cancels.
    """
    grey_THW = clip_THWC.astype(np.float32).mean(-1)
    smooth_THW = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in grey_THW])
    near, far = (np.abs(smooth_THW[k:] - smooth_THW[:-k]).mean() for k in (1, _LAG))
    return float(near / far)


def order_by_pace(data: Data) -> float:
    """Share of the triplets of `claims.speed_order` that `pace` orders rightly."""
    right = []
    for clips in triplets(data):
        query, same, other = (pace(whole(clip)) for clip in clips)
        right.append(abs(query - same) < abs(query - other))
    return float(np.mean(right))


def contrast_by_motion(
    *, batch: int, others: int, per_class: int, flips: bool, both_views: bool
) -> tuple[float, float]:
    """Accuracy and cross entropy of the best guess that knows only motions.

    A query's positive is one among those candidates that move alike. Candidates are the
    `batch`, each of its videos in two views if `both_views`, else the positive and
    `others` keys of other videos.
    """
    rng = np.random.default_rng(0)
    kinds = _FLIPPED if flips else np.arange(len(CLASSES))
    videos = np.repeat(kinds, per_class)
    chances = []
    for _ in range(_ROUNDS):
        drawn = rng.permutation(videos)
        queries = drawn[:batch]
        counts = np.bincount(queries if both_views else drawn[-others:], minlength=len(CLASSES))
        alike = 2 * counts[queries] - 1 if both_views else 1 + counts[queries]
        chances.append(1 / alike)
    return float(np.mean(chances)), float(-np.log(chances).mean())


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".tubelet/results"))
    folder = parser.parse_args().folder
    for name, world in WORLDS.items():
        shapes = world.of(videos=1, epochs=None).shapes
        data = make(folder / f"{name}-1", "videos", shapes, tubes=True)
        print(f"speeds in order by frame differences, {name}: {order_by_pace(data):.3f}")
    for flips in (True, False):
        for title, candidates in (
            ("clips of a batch of 32", {"both_views": True, "others": 0}),
            ("96 keys", {"both_views": False, "others": 96}),
        ):
            share, entropy = contrast_by_motion(batch=32, per_class=32, flips=flips, **candidates)
            print(f"{title}, {'flipped' if flips else 'upright'}: {share:.3f}, {entropy:.2f} nats")


if __name__ == "__main__":
    main()
