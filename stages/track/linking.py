"""Link regions of neighbouring frames into tubes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion
from stages.track.foreground import Regions
from stages.track.tube import Patch, Tube

_MOST = 0.5  # share of a mask or region that lies in the other
_PART = 0.3  # of an object may come off and still be counted as its own
_GROWTH = 2.5  # times the area from one frame to the next: more is another thing
_REACH = 8  # pixels around a mask that its motion is looked for in
_MAX_ACTIVE = 32  # tubes followed at a time, the first ones


def link(
    regions: Regions,
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
    shows is carried on for up to `max_gap` frames.

    Returns
    -------
    list of Tube
        All of them, in order of their end.
    """
    active: list[Tube] = []
    finished: list[Tube] = []
    for t, labels in enumerate(regions.labels_THW):
        strength = regions.strength[t]
        if motion.cut_T[t]:
            finished += active
            active = []
        for tube in active:
            tube.carried = carry(tube.carried, motion.backward_Thw2[t], labels.shape)
        finished += [tube for tube in active if not tube.carried.area]
        active = [tube for tube in active if tube.carried.area]
        gone, taken = _match(t, active, labels, strength, min_iou, min_length)
        following = []
        for tube in active:
            if t not in tube.strengths and tube not in gone:
                if tube.missed >= max_gap:
                    finished.append(tube)
                    continue
                tube.miss(t)
            if tube not in gone:
                following.append(tube)
        for number in range(1, len(strength)):
            if number not in taken and len(following) < _MAX_ACTIVE:
                tube = Tube()
                patch = Patch.of((labels == number).astype(np.uint8))
                tube.see(t, patch, float(strength[number]), 0.0)
                following.append(tube)
        active = following
    for tube in finished + active:
        _score_first(tube)
    return finished + active


def carry(patch: Patch, backward_hw2: NDArray[np.float32], shape: tuple[int, int]) -> Patch:
    """A mask moved along the flow.

    Parameters
    ----------
    patch : Patch
        In the frame before, of `shape`.
    backward_hw2 : ndarray of shape (h, w, 2), float32
        Flow to the frame before, at its own resolution.
    """
    ratio = backward_hw2.shape[0] / shape[0], backward_hw2.shape[1] / shape[1]
    left, top, right, bottom = patch.xyxy
    reach = _REACH
    rows = slice(int(max(0, top - reach) * ratio[0]), int((bottom + reach) * ratio[0]) + 1)
    columns = slice(int(max(0, left - reach) * ratio[1]), int((right + reach) * ratio[1]) + 1)
    near = backward_hw2[rows, columns]
    low, high = near.min(axis=(0, 1)) - 1, near.max(axis=(0, 1)) + 1
    # A pixel x of the new mask has x + flow inside the old one.
    x1, x2 = max(0, int(left - high[0])), min(shape[1], int(np.ceil(right - low[0])))
    y1, y2 = max(0, int(top - high[1])), min(shape[0], int(np.ceil(bottom - low[1])))
    if x1 >= x2 or y1 >= y2:
        return Patch(0, 0, np.zeros((0, 0), np.bool_))
    xs, ys = np.arange(x1, x2, dtype=np.float32), np.arange(y1, y2, dtype=np.float32)
    fine = np.array(
        [[ratio[1], 0, (x1 + 0.5) * ratio[1] - 0.5], [0, ratio[0], (y1 + 0.5) * ratio[0] - 0.5]]
    )
    at = cv2.warpAffine(
        backward_hw2,
        fine,
        (x2 - x1, y2 - y1),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    at[..., 0] += xs
    at[..., 1] += ys[:, None]
    soft = cv2.remap(
        patch.mask.astype(np.uint8) * np.uint8(255),
        at - np.array([left, top], np.float32),
        None,
        cv2.INTER_LINEAR,
    )
    return Patch.of((soft > 127).astype(np.uint8), x1, y1)


def _match(
    t: int,
    active: list[Tube],
    labels: NDArray[np.uint8],
    strength: NDArray[np.float32],
    min_iou: float,
    min_length: int,
) -> tuple[set[Tube], set[int]]:
    """Give regions to tubes; returns the tubes that go up in others and the regions taken."""
    count = len(strength)
    if not active or count == 1:
        return set(), set()
    area = np.bincount(labels.ravel(), minlength=count)
    shared = np.stack(
        [
            np.bincount(labels[tube.carried.box][tube.carried.mask], minlength=count)
            for tube in active
        ]
    )
    size = np.array([tube.carried.area for tube in active])
    iou = shared / (area[None] + size[:, None] - shared)
    known = np.array([len(tube.strengths) >= min_length for tube in active])[:, None]
    inside = (shared >= _MOST * size[:, None]) & known
    met = np.maximum(size[:, None], (inside * size[:, None]).sum(axis=0))  # all that lies in it
    ratio = area[None] / met
    iou[(ratio > _GROWTH) | (ratio < 1 / _GROWTH)] = 0
    pairs = assign(iou[:, 1:], min_iou=min_iou)
    owners: dict[int, list[int]] = {j + 1: [i] for i, j in pairs.items()}
    gone: set[Tube] = set()
    for i in sorted(set(range(len(active))) - set(pairs)):
        j = int(shared[i, 1:].argmax()) + 1
        if j in owners and shared[i, j] >= _MOST * size[i]:
            young = [k for k in (i, *owners[j]) if len(active[k].strengths) < min_length]
            if i in young:
                gone.add(active[i])
            elif not young:
                owners[j].append(i)
            elif iou[i, j] >= min_iou:  # the older one takes its place
                gone.add(active[owners[j][0]])
                owners[j] = [i]
    alone = {own[0]: [j] for j, own in owners.items() if len(own) == 1}
    taken = set(owners)
    for j in sorted(set(range(1, count)) - taken):
        i = int(shared[:, j].argmax())
        small = area[j] <= _PART * size[i]
        if small and i in alone and shared[i, j] >= _MOST * area[j]:
            alone[i].append(j)
            taken.add(j)
    for i, numbers in alone.items():
        mask = np.isin(labels, numbers) if len(numbers) > 1 else labels == numbers[0]
        _see(active[i], t, mask, float(strength[numbers[0]]))
    for j, own in owners.items():
        if len(own) > 1:
            shares = share_out(labels == j, [active[i].carried for i in own])
            for i, mask in zip(own, shares, strict=True):
                if mask.any():
                    _see(active[i], t, mask, float(strength[j]))
    return gone, taken


def _see(tube: Tube, t: int, mask_HW: NDArray[np.bool_], strength: float) -> None:
    patch = Patch.of(mask_HW.astype(np.uint8))
    both = patch.overlap(tube.carried)
    tube.see(t, patch, strength, both / (patch.area + tube.carried.area - both))


def share_out(region_HW: NDArray[np.bool_], masks: list[Patch]) -> list[NDArray[np.bool_]]:
    """Parts of a region, each pixel going to the nearest mask, the first on a tie."""
    distance = np.stack(
        [
            cv2.distanceTransform(1 - mask.paste(region_HW.shape), cv2.DIST_L2, cv2.DIST_MASK_3)
            for mask in masks
        ]
    )
    nearest = distance.argmin(axis=0)
    return [region_HW & (nearest == i) for i in range(len(masks))]


def assign(iou_NM: NDArray[np.float64], *, min_iou: float) -> dict[int, int]:
    """Best pairs (row -> column) with an IoU of at least `min_iou`."""
    from scipy.optimize import linear_sum_assignment

    # A pair that will be refused must not displace one that holds.
    kept = np.where(iou_NM < min_iou, 0, iou_NM)
    rows, columns = linear_sum_assignment(-kept)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if kept[i, j] > 0}


def _score_first(tube: Tube) -> None:
    """A tube's first frame has nothing carried to it: it counts as its next does."""
    first, *rest = sorted(tube.strengths)
    if rest:
        tube.scores[first] = tube.scores[rest[0]]
