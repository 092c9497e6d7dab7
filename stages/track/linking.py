"""Link masks of neighbouring frames into tubes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion, warp
from stages.track.foreground import CERTAIN

Mask = NDArray[np.bool_]


@dataclass
class Tube:
    """Masks of one object by frame.

    ``carried`` is the newest mask moved along the flow to the frame at hand; ``guesses``
    are such masks of the frames since the object was last seen.
    """

    masks: dict[int, Mask] = field(default_factory=dict)
    evidence: list[float] = field(default_factory=list)
    carried: Mask = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    guesses: dict[int, Mask] = field(default_factory=dict)

    def see(self, t: int, mask: Mask, evidence_HW: NDArray[np.float32]) -> None:
        """Take a mask, and the guesses that led to it."""
        self.masks |= {**self.guesses, t: mask}
        self.guesses = {}
        self.carried = mask
        self.evidence.append(float(evidence_HW[mask].mean()))

    def miss(self, t: int) -> None:
        """Remember where the object should be."""
        self.guesses[t] = self.carried

    @property
    def score(self) -> float:
        """Mean evidence as a share of certainty, in 0..1."""
        return float(np.mean(self.evidence)) / CERTAIN


def link(
    masks_T: list[list[Mask]],
    evidence_THW: NDArray[np.float32],
    motion: Motion,
    *,
    min_iou: float,
    max_gap: int,
    min_length: int,
    min_score: float,
    max_tubes: int,
) -> list[Tube]:
    """Assign the masks of each frame to the tubes so far (Hungarian, on mask IoU).

    A tube's newest mask is carried along the flow before it is compared; without a match
    it is carried on for up to `max_gap` frames. No tube crosses a cut.

    Returns
    -------
    list of Tube
        At least `min_length` frames long and of `min_score`, the `max_tubes` best by
        score times length, ordered by first frame.
    """
    active: list[Tube] = []
    finished: list[Tube] = []
    for t, masks in enumerate(masks_T):
        if motion.cut_T[t]:
            finished += active
            active = []
        for tube in active:
            soft = warp(tube.carried.astype(np.float32), motion.backward_THW2[t])
            tube.carried = soft > 0.5
        pairs = assign([tube.carried for tube in active], masks, min_iou=min_iou)
        following = []
        for i, tube in enumerate(active):
            if i in pairs:
                tube.see(t, masks[pairs[i]], evidence_THW[t])
            elif len(tube.guesses) < max_gap and tube.carried.any():
                tube.miss(t)
            else:
                finished.append(tube)
                continue
            following.append(tube)
        for j in sorted(set(range(len(masks))) - set(pairs.values())):
            following.append(Tube())
            following[-1].see(t, masks[j], evidence_THW[t])
        active = following
    good = [
        tube
        for tube in finished + active
        if len(tube.masks) >= min_length and tube.score >= min_score
    ]
    best = sorted(good, key=lambda tube: -tube.score * len(tube.masks))[:max_tubes]
    return sorted(best, key=lambda tube: min(tube.masks))


def assign(old: list[Mask], new: list[Mask], *, min_iou: float) -> dict[int, int]:
    """Best pairs (index of old -> index of new) with an IoU of at least `min_iou`."""
    from scipy.optimize import linear_sum_assignment

    if not old or not new:
        return {}
    a = np.stack(old).reshape(len(old), -1).astype(np.float32)
    b = np.stack(new).reshape(len(new), -1).astype(np.float32)
    overlap = a @ b.T
    iou = overlap / np.maximum(a.sum(1)[:, None] + b.sum(1)[None] - overlap, 1)
    iou[iou < min_iou] = 0  # a pair that will be refused must not displace one that holds
    rows, columns = linear_sum_assignment(-iou)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if iou[i, j] > 0}
