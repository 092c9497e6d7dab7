"""What an object looks like, and where a tube goes on with another one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stages.track.tube import Patch, Tube

_BINS = 16
_AROUND = 12  # frames on each side of a change
_FEWEST = 6  # frames that looks are known from
ALIKE = 0.65  # least mean histogram intersection of what may be one object


def alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection 0..1 of histograms (..., B), each of any sum above 0."""
    one, other = (a / a.sum(-1, keepdims=True) for a in (one, other))
    return np.asarray(np.minimum(one, other).sum(-1), np.float64)


def histograms(patch: Patch, t: int, planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Grey and colour histograms (B,) of frame `t` under a mask: pixels, each plane alike.

    Parameters
    ----------
    patch : Patch
    t : int
    planes : sequence of ndarrays of shape (T, H, W) or (T, H/2, W/2), uint8
        See `stages.track.footage.Footage`.
    """
    out = []
    for plane in planes:
        step = 1 if plane is planes[0] else 2
        odd_y, odd_x = patch.top % step, patch.left % step
        mask = patch.mask[odd_y::step, odd_x::step]
        top, left = (patch.top + odd_y) // step, (patch.left + odd_x) // step
        image = plane[t, top : top + mask.shape[0], left : left + mask.shape[1]]
        inside = image[mask[: image.shape[0], : image.shape[1]]]
        width = 256 // _BINS if step == 1 else 8  # colours keep near their middle
        values = np.clip((inside.astype(int) - 128) // width + _BINS // 2, 0, _BINS - 1)
        counts = np.bincount(values, minlength=_BINS)
        out.append(counts * (patch.area / max(1, counts.sum())))
    return np.concatenate(out)


def part(tubes: list[Tube], planes: Sequence[NDArray[np.uint8]]) -> list[Tube]:
    """The tubes, cut where they go on with something that looks different.

    Parameters
    ----------
    tubes : list of Tube
    planes : sequence of ndarrays
        See `histograms`.

    Notes
    -----
    Where objects hide each other a mask may pass from one to the other. Looks before and
    after tell, over some frames, in which a part that is hidden counts by its area.
    """
    out = []
    for tube in tubes:
        frames = np.array(sorted(tube.strengths))
        looks = np.array([histograms(tube.patches[t], t, planes) for t in frames.tolist()])
        bounds = [min(tube.patches), *frames[_changes(looks)].tolist(), max(tube.patches) + 1]
        out += [tube.between(a, b) for a, b in pairwise(bounds)]
    return out


def _changes(looks_NB: NDArray[np.float64]) -> list[int]:
    """Rows at which something else begins, ascending; the clearest change is cut first."""
    count = len(looks_NB)
    at = np.arange(_FEWEST, count - _FEWEST + 1)
    if not len(at):
        return []
    total = np.concatenate([np.zeros((1, looks_NB.shape[1])), np.cumsum(looks_NB, axis=0)])
    before = total[at] - total[np.maximum(at - _AROUND, 0)]
    after = total[np.minimum(at + _AROUND, count)] - total[at]
    same = alike(before, after)
    if same.min() >= ALIKE:
        return []
    i = int(at[same.argmin()])
    return [*_changes(looks_NB[:i]), i, *(i + j for j in _changes(looks_NB[i:]))]
