"""Queries with their nearest neighbours: strips of frames, and films side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import Colour, Image, palette
from pipeline.pictures import caption, stack, strip
from storage_schemas.frames import Frames

_QUERY, _RIGHT, _WRONG = palette(4), palette(5), palette(0)  # right and wrong are blue and red
_HEIGHT = 72
LEGEND = "query, nearest; blue is right, red wrong"


@dataclass(frozen=True)
class Strip:
    """A query and its neighbours, from near to far.

    Parameters
    ----------
    query : Frames
    neighbours : sequence of Frames
    right : sequence of bool
        Which neighbours have the query's class.
    """

    query: Frames
    neighbours: Sequence[Frames]
    right: Sequence[bool]

    def middles(self) -> Image:
        """The middle frame of each video."""
        return self._row([len(video) // 2 for video in (self.query, *self.neighbours)])

    def at(self, seconds: float) -> Image:
        """The frame of each video at this time after its first; its last once it has ended."""
        videos = (self.query, *self.neighbours)
        places = [
            np.searchsorted(video.pts_seconds - video.pts_seconds[0], seconds + 1e-9, "right") - 1
            for video in videos
        ]
        return self._row([int(place) for place in places])

    def _row(self, places: Sequence[int]) -> Image:
        colours = [_QUERY, *(_RIGHT if right else _WRONG for right in self.right)]
        videos = (self.query, *self.neighbours)
        return strip(
            [
                _framed(video, place, colour)
                for video, place, colour in zip(videos, places, colours, strict=True)
            ],
            height=_HEIGHT,
        )


def strips_sheet(strips: Mapping[str, Sequence[Strip]]) -> Image:
    """Strips below each other under the name that they have in common."""
    return stack(
        [
            caption(stack([one.middles() for one in some]), f"{name}: {LEGEND}")
            for name, some in strips.items()
        ]
    )


def strips_film(strips: Mapping[str, Strip]) -> tuple[Iterator[Image], NDArray[np.float64]]:
    """All videos at their own speed, as long as the query lasts, which all have in common."""
    query = next(iter(strips.values())).query
    times = query.pts_seconds - query.pts_seconds[0]

    def images() -> Iterator[Image]:
        for seconds in times.tolist():
            yield stack(
                [caption(one.at(seconds), f"{name}: {LEGEND}") for name, one in strips.items()]
            )

    return images(), times


def _framed(video: Frames, place: int, colour: Colour) -> Image:
    frame = video.decode([place])[0].copy()
    edge = max(2, min(frame.shape[:2]) // 20)
    for border in (frame[:edge], frame[-edge:], frame[:, :edge], frame[:, -edge:]):
        border[:] = colour
    return frame
