"""Link regions of neighbouring frames into tubes."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import pixel_grid
from stages.track.flow import Motion
from stages.track.foreground import Regions

Mask = NDArray[np.uint8]  # (H, W), 0 or 1

_MOST = 0.5  # share of a mask or region that lies in the other
_BRIDGE = 3  # frames unseen that are filled all the same
_LOOKS = 12.0  # grey levels that a resting object may differ from when it was last seen
_CONTRAST = 0.35  # or this share of its own contrast
_MAX_ACTIVE = 32  # tubes followed at a time, those with most evidence


@dataclass(frozen=True)
class Patch:
    """A mask cut to its box: ``mask`` (h, w), bool, with its corner at (`left`, `top`)."""

    left: int
    top: int
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: Mask) -> Patch:
        """Cut a mask that is not empty."""
        left, top, width, height = cv2.boundingRect(mask)
        return cls(left, top, mask[top : top + height, left : left + width] > 0)

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """Half-open box."""
        height, width = self.mask.shape
        return self.left, self.top, self.left + width, self.top + height

    def shifted(self, x: int, y: int) -> Patch:
        """The patch at another place."""
        return Patch(self.left + x, self.top + y, self.mask)

    def paste(self, shape: tuple[int, int]) -> Mask:
        """The mask in its frame."""
        out = np.zeros(shape, np.uint8)
        height, width = self.mask.shape
        out[self.top : self.top + height, self.left : self.left + width] = self.mask
        return out


@dataclass(eq=False)
class Tube:
    """Masks of one object by frame.

    Parameters
    ----------
    patches : dict
        Mask by frame.
    scores : dict
        How well the frame's own region agrees with the mask carried there, IoU in 0..1; 0
        where the mask was only carried on.
    strengths : dict
        Evidence of own motion in the frames that show the object.
    """

    patches: dict[int, Patch] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    strengths: dict[int, float] = field(default_factory=dict)
    carried: Mask = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    looks: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    guesses: dict[int, Patch] = field(default_factory=dict)
    missed: int = 0

    def see(self, t: int, mask: Mask, strength: float, score: float) -> None:
        """Take a mask that a frame shows, and the few guesses before it."""
        if len(self.guesses) <= _BRIDGE:
            for frame, guess in self.guesses.items():
                self.patches[frame], self.scores[frame] = guess, 0.0
        self.guesses, self.missed = {}, 0
        self.patches[t], self.scores[t], self.strengths[t] = Patch.of(mask), score, strength
        self.carried = mask

    def carry(self, t: int) -> None:
        """Take the carried mask of an object that rests."""
        for frame, guess in self.guesses.items():
            self.patches[frame], self.scores[frame] = guess, 0.0
        self.guesses, self.missed = {}, 0
        self.patches[t], self.scores[t] = Patch.of(self.carried), 0.0

    def miss(self, t: int) -> None:
        """Remember where the object should be."""
        self.guesses[t] = Patch.of(self.carried)
        self.missed += 1

    def evidence(self, window: int) -> float:
        """Most evidence of motion in 0..1, as a mean over so many frames."""
        row = np.zeros(max(self.patches) - min(self.patches) + 1)
        for t, strength in self.strengths.items():
            row[t - min(self.patches)] = strength
        window = min(window, len(row))
        total = np.concatenate([[0.0], np.cumsum(row)])
        return float((total[window:] - total[:-window]).max() / window)


def link(
    regions: Regions,
    grey_THW: NDArray[np.uint8],
    motion: Motion,
    *,
    min_iou: float,
    max_gap: int,
    min_length: int,
) -> list[Tube]:
    """Follow regions from frame to frame; no tube crosses a cut.

    Each tube's mask is carried along the flow and takes the region that overlaps it best
    (Hungarian, on IoU). Two objects that meet in one region share it out by nearness; a
    tube that is too young to be an object of its own goes up in the other. A part of an
    object that comes off in the middle of its mask stays with it. An object that no region
    shows is carried on as long as it looks as it did, or else for up to `max_gap` frames.

    Returns
    -------
    list of Tube
        All of them, in order of their end.
    """
    count, height, width = regions.labels_THW.shape
    grid = pixel_grid(height, width)
    active: list[Tube] = []
    finished: list[Tube] = []
    for t in range(count):
        labels = regions.labels_THW[t]
        if motion.cut_T[t]:
            finished += active
            active = []
        if active:
            flow = cv2.resize(motion.backward_Thw2[t], (width, height))
            at = grid + flow
            for tube in active:
                tube.carried = _moved(tube.carried, at)
            finished += [tube for tube in active if not tube.carried.any()]
            active = [tube for tube in active if tube.carried.any()]
        following, taken = _match(t, active, labels, regions.strength[t], min_iou, min_length)
        for tube in active:
            if t in tube.strengths:
                if t + 1 < count:
                    tube.looks = grey_THW[t]
            elif tube in following:
                tube.looks = cv2.remap(tube.looks, at, None, cv2.INTER_LINEAR)
                if looks_alike(grey_THW[t], tube.looks, tube.carried):
                    tube.carry(t)
                elif tube.missed < max_gap:
                    tube.miss(t)
                else:
                    finished.append(tube)
                    following.remove(tube)
        for number in range(1, len(regions.strength[t])):
            if number not in taken and len(following) < _MAX_ACTIVE:
                tube = Tube(looks=grey_THW[t])
                mask = (labels == number).astype(np.uint8)
                tube.see(t, mask, float(regions.strength[t][number]), 0.0)
                following.append(tube)
        active = following
    for tube in finished + active:
        _score_first(tube)
    return finished + active


def _match(
    t: int,
    active: list[Tube],
    labels: NDArray[np.uint8],
    strength: NDArray[np.float32],
    min_iou: float,
    min_length: int,
) -> tuple[list[Tube], set[int]]:
    """Give regions to tubes; returns the tubes that live on and the regions taken."""
    count = len(strength)
    if not active or count == 1:
        return list(active), set()
    area = np.bincount(labels.ravel(), minlength=count)
    shared = np.stack([np.bincount(labels[tube.carried > 0], minlength=count) for tube in active])
    size = np.array([int(tube.carried.sum()) for tube in active])
    iou = shared / (area[None] + size[:, None] - shared)
    iou[:, 0] = 0
    pairs = assign(iou[:, 1:], min_iou=min_iou)
    owners: dict[int, list[int]] = {j + 1: [i] for i, j in pairs.items()}
    gone: set[int] = set()
    for i in sorted(set(range(len(active))) - set(pairs)):
        j = int(shared[i, 1:].argmax()) + 1
        if j in owners and shared[i, j] >= _MOST * size[i]:
            young = [k for k in (i, *owners[j]) if len(active[k].strengths) < min_length]
            if i in young:
                gone.add(i)
            elif owners[j][0] in young:  # the older one takes its place
                gone.add(owners[j][0])
                owners[j] = [i]
            else:
                owners[j].append(i)
    parts: dict[int, list[int]] = {own[0]: [j] for j, own in owners.items() if len(own) == 1}
    taken = set(owners)
    for j in set(range(1, count)) - taken:
        i = int(shared[:, j].argmax())
        if i in parts and shared[i, j] >= _MOST * area[j]:
            parts[i].append(j)
            taken.add(j)
    for i, numbers in parts.items():
        mask = np.isin(labels, numbers).astype(np.uint8)
        whole = int(mask.sum())
        both = int(shared[i, numbers].sum())
        score = both / (whole + size[i] - both)
        active[i].see(t, mask, float(strength[numbers[0]]), float(score))
    for j, own in owners.items():
        if len(own) > 1:
            nearest = share_out(labels == j, [active[i].carried for i in own])
            for i, mask in zip(own, nearest, strict=True):
                if mask.any():
                    both = int((mask & active[i].carried).sum())
                    score = both / (int(mask.sum()) + size[i] - both)
                    active[i].see(t, mask, float(strength[j]), score)
    return [tube for i, tube in enumerate(active) if i not in gone], taken


def share_out(region_HW: NDArray[np.bool_], masks: list[Mask]) -> list[Mask]:
    """Parts of a region, each pixel going to the nearest mask, the first on a tie."""
    distance = np.stack(
        [cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_3) for mask in masks]
    )
    nearest = distance.argmin(axis=0)
    return [(region_HW & (nearest == i)).astype(np.uint8) for i in range(len(masks))]


def looks_alike(here_HW: NDArray[np.uint8], before_HW: NDArray[np.uint8], mask: Mask) -> bool:
    """Whether a frame shows under a mask what another showed, a shade lighter or darker."""
    inside = mask > 0
    here, before = here_HW[inside].astype(np.float32), before_HW[inside].astype(np.float32)
    here -= here.mean()
    before -= before.mean()
    return bool(np.abs(here - before).mean() <= max(_LOOKS / 2, _CONTRAST * before.std()))


def assign(iou_NM: NDArray[np.float64], *, min_iou: float) -> dict[int, int]:
    """Best pairs (row -> column) with an IoU of at least `min_iou`."""
    from scipy.optimize import linear_sum_assignment

    # A pair that will be refused must not displace one that holds.
    kept = np.where(iou_NM < min_iou, 0, iou_NM)
    rows, columns = linear_sum_assignment(-kept)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if kept[i, j] > 0}


def _moved(mask: Mask, at_HW2: NDArray[np.float32]) -> Mask:
    soft = cv2.remap(mask * np.uint8(255), at_HW2, None, cv2.INTER_LINEAR)
    return (soft > 127).astype(np.uint8)


def _score_first(tube: Tube) -> None:
    """A tube's first frame has nothing carried to it: it counts as its next does."""
    first, *rest = sorted(tube.strengths)
    if rest:
        tube.scores[first] = tube.scores[rest[0]]
