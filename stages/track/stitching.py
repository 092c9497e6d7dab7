"""Find objects again that were hidden: join the end of one tube to the start of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion
from stages.track.looks import ALIKE, alike, histograms
from stages.track.tube import Tube

_ENDS = 12  # frames at the end of a tube that speed and looks are taken from
_WHOLE = 0.7  # of a tube's usual area: less is an object half hidden
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
    same = float(alike(end.looks, start.looks))
    larger = max(end.area, start.area) / min(end.area, start.area)
    if same < ALIKE or larger > _LARGER:
        return None
    expected = (end.speed + start.speed) / 2 * gap
    way = start.place - end.place
    share = float(np.clip(way @ expected / max(float(expected @ expected), 1e-9), 0, 1))
    off = float(np.linalg.norm(way - share * expected))
    size = np.sqrt((end.area + start.area) / 2)
    allowed = size + 0.5 * float(np.linalg.norm(expected))
    return off / allowed + _RESTS * (1 - share) + 1 - same if off <= allowed else None


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
    looked = chosen[:: max(1, len(chosen) // 3)]
    looks = np.sum([histograms(tube.patches[t], t, planes) for t in looked], axis=0)
    return _End(
        frame=chosen[near],
        place=places_N2[near],
        speed=(places_N2[-1] - places_N2[0]) / span,
        area=usual,
        looks=looks,
    )
