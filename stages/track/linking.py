"""Link masks of neighbouring frames into tubes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion, warp

Mask = NDArray[np.bool_]


@dataclass
class Tube:
    """Masks of one object by frame; `score` is its mean evidence, squashed to 0..1."""

    masks: dict[int, Mask] = field(default_factory=dict)
    evidence: list[float] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Newest frame."""
        return max(self.masks)

    @property
    def score(self) -> float:
        """Confidence in 0..1: evidence of 1 is the threshold."""
        return float(1 - np.exp(-np.mean(self.evidence) / 2))


def link(
    masks_T: list[list[Mask]],
    evidence_THW: NDArray[np.float32],
    motion: Motion,
    *,
    min_iou: float,
    max_gap: int,
    min_length: int,
    max_tubes: int,
) -> list[Tube]:
    """Assign the masks of each frame to the tubes so far (Hungarian, on mask IoU).

    A tube's newest mask is carried along the flow before it is compared; without a match
    it is carried for up to `max_gap` frames. No tube crosses a cut.

    Returns
    -------
    list of Tube
        At least `min_length` frames long, the `max_tubes` best by score times length.
    """
    active: list[tuple[Tube, Mask, int]] = []  # tube, mask carried to this frame, misses
    finished: list[Tube] = []
    for t, masks in enumerate(masks_T):
        if motion.cut_T[t]:
            finished += [tube for tube, _, _ in active]
            active = []
        else:
            active = [
                (tube, warp(mask.astype(np.float32), motion.backward_THW2[t]) > 0.5, misses)
                for tube, mask, misses in active
            ]
        pairs = _assign([mask for _, mask, _ in active], masks, min_iou=min_iou)
        following: list[tuple[Tube, Mask, int]] = []
        for i, (tube, carried, misses) in enumerate(active):
            if i in pairs:
                mask = masks[pairs[i]]
                _fill_gap(tube, t, mask)
                tube.masks[t] = mask
                tube.evidence.append(float(evidence_THW[t][mask].mean()))
                following.append((tube, mask, 0))
            elif misses < max_gap and carried.any():
                following.append((tube, carried, misses + 1))
            else:
                finished.append(tube)
        taken = set(pairs.values())
        for j, mask in enumerate(masks):
            if j not in taken:
                new = Tube({t: mask}, [float(evidence_THW[t][mask].mean())])
                following.append((new, mask, 0))
        active = following
    finished += [tube for tube, _, _ in active]
    long = [tube for tube in finished if len(tube.masks) >= min_length]
    best = sorted(long, key=lambda tube: -tube.score * len(tube.masks))[:max_tubes]
    return sorted(best, key=lambda tube: min(tube.masks))


def _fill_gap(tube: Tube, t: int, mask: Mask) -> None:
    """Frames that a tube missed get the mask of the nearer end."""
    last = tube.last
    before = tube.masks[last]
    for missing in range(last + 1, t):
        tube.masks[missing] = before if missing - last <= t - missing else mask


def _assign(old: list[Mask], new: list[Mask], *, min_iou: float) -> dict[int, int]:
    """Best pairs (index of old -> index of new) with an IoU of at least `min_iou`."""
    from scipy.optimize import linear_sum_assignment

    if not old or not new:
        return {}
    a = np.stack(old).reshape(len(old), -1).astype(np.float32)
    b = np.stack(new).reshape(len(new), -1).astype(np.float32)
    overlap = a @ b.T
    iou = overlap / np.maximum(a.sum(1)[:, None] + b.sum(1)[None] - overlap, 1)
    rows, columns = linear_sum_assignment(-iou)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if iou[i, j] >= min_iou}
