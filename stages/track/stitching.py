"""Find objects again that were hidden: join the end of one tube to the start of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion
from stages.track.tube import Tube

_BINS = 16
_ENDS = 12  # frames at the end of a tube that speed and looks are taken from
_WHOLE = 0.7  # of a tube's usual area: less is an object half hidden
_ALIKE = 0.55  # least mean histogram intersection
_RESTS = 0.5  # how unlikely it is that a hidden object does not move on
_LARGER = 2.5  # at most so many times the area


@dataclass(frozen=True)
class _End:
    """One end of a tube: place and speed on the ground, area, looks."""

    frame: float
    place: NDArray[np.float64]
    speed: NDArray[np.float64]
    area: float
    looks: NDArray[np.float64]


def stitch(
    tubes: list[Tube],
    planes: Sequence[NDArray[np.uint8]],
    motion: Motion,
    *,
    max_hidden: int,
) -> list[Tube]:
    """Tubes, those joined that look like one object which was hidden in between.

    An object is expected on its way at its speed, seen against the background, where it may
    rest, and with the histograms it had; the best pairs are joined first.
    """
    grounds = np.tile(np.eye(3), (len(motion.cut_T), 1, 1))
    shot = np.cumsum(motion.cut_T)
    for t in range(1, len(grounds)):
        if not motion.cut_T[t]:
            grounds[t] = grounds[t - 1] @ motion.camera_T33[t]
            grounds[t] /= grounds[t][2, 2]
    order = sorted(tubes, key=lambda tube: min(tube.patches))
    ends = [_end(tube, planes, grounds, last=True) for tube in order]
    starts = [_end(tube, planes, grounds, last=False) for tube in order]
    costs = []
    for i, one in enumerate(order):
        for j, other in enumerate(order):
            gap = min(other.patches) - max(one.patches)
            if 0 < gap <= max_hidden and shot[max(one.patches)] == shot[min(other.patches)]:
                cost = _cost(ends[i], starts[j])
                if cost is not None:
                    costs.append((cost, i, j))
    following: dict[int, int] = {}
    for _, i, j in sorted(costs):
        if i not in following and j not in following.values():
            following[i] = j
    out = []
    for i in range(len(order)):
        if i in following.values():
            continue
        joined, j = order[i], i
        while j in following:
            j = following[j]
            joined.patches |= order[j].patches
            joined.scores |= order[j].scores
            joined.strengths |= order[j].strengths
        out.append(joined)
    return out


def _cost(end: _End, start: _End) -> float | None:
    """How unlikely two ends belong together; None if they do not."""
    gap = start.frame - end.frame
    alike = float(np.minimum(end.looks, start.looks).sum())
    larger = max(end.area, start.area) / min(end.area, start.area)
    if alike < _ALIKE or larger > _LARGER:
        return None
    expected = (end.speed + start.speed) / 2 * gap
    way = start.place - end.place
    share = float(np.clip(way @ expected / max(float(expected @ expected), 1e-9), 0, 1))
    off = float(np.linalg.norm(way - share * expected))
    size = np.sqrt((end.area + start.area) / 2)
    allowed = size + 0.5 * float(np.linalg.norm(expected))
    return off / allowed + _RESTS * (1 - share) + 1 - alike if off <= allowed else None


def _end(
    tube: Tube, planes: Sequence[NDArray[np.uint8]], grounds: NDArray[np.float64], *, last: bool
) -> _End:
    usual = float(np.median([patch.mask.sum() for patch in tube.patches.values()]))
    frames = [t for t in sorted(tube.strengths) if tube.patches[t].mask.sum() >= _WHOLE * usual]
    frames = frames or sorted(tube.strengths)
    chosen = frames[-_ENDS:] if last else frames[:_ENDS]
    places = []
    for t in chosen:
        patch = tube.patches[t]
        ys, xs = np.nonzero(patch.mask)
        point = grounds[t] @ np.array([xs.mean() + patch.left, ys.mean() + patch.top, 1.0])
        places.append(point[:2] / point[2])
    places_N2 = np.stack(places)
    span = max(1, chosen[-1] - chosen[0])
    near = -1 if last else 0
    looks = np.mean([_histograms(tube, t, planes) for t in chosen[:: max(1, len(chosen) // 3)]], 0)
    return _End(
        frame=chosen[near],
        place=places_N2[near],
        speed=(places_N2[-1] - places_N2[0]) / span,
        area=usual,
        looks=looks,
    )


def _histograms(tube: Tube, t: int, planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Grey and colour histograms under a mask, of sum 1 together."""
    mask = tube.patches[t].paste(planes[0].shape[1:])
    out = []
    for plane in planes:
        image = plane[t]
        rows = np.arange(image.shape[0]) * mask.shape[0] // image.shape[0]
        columns = np.arange(image.shape[1]) * mask.shape[1] // image.shape[1]
        inside = image[mask[np.ix_(rows, columns)] > 0]
        width = 256 // _BINS if plane is planes[0] else 8  # colours keep near their middle
        values = np.clip((inside.astype(int) - 128) // width + _BINS // 2, 0, _BINS - 1)
        counts = np.bincount(values, minlength=_BINS)
        out.append(counts / max(1, counts.sum()))
    return np.concatenate(out) / len(planes)
