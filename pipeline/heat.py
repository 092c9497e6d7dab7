"""Maps of activation drawn over frames: colours, contact sheets, films.

Images are RGB, uint8, (H, W, 3). The colours are those of viridis, which rise evenly in
lightness and look alike to people who cannot tell red from green; frames are grey beneath
them, so that no colour of the video is taken for one of the map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import INK, PAPER, Image, text_width, write
from pipeline.pictures import caption, draw_boxes, grid, stack, strip
from storage_schemas.activation_maps import ActivationMap
from storage_schemas.frames import Frames

_OPACITY = 0.6  # of the colours over the frame
_OUTSIDE = 0.4  # brightness of what the network did not see
_TILES, _HEIGHT = 4, 110  # of a sheet: frames of a row, and their height
_COLUMNS, _PANEL = 5, 240  # of a film: most panels side by side, and their height
_BAR = 12  # width of the colour bar
_FINE = 1000  # a frame with more cells is a picture by itself, which a few points would darken
_BRIGHTEST = 0.995  # share of the cells of such a map that are not cut


def viridis(values: NDArray[np.floating]) -> Image:
    """Colours (..., 3) of values in 0..1."""
    import cv2

    steps = np.arange(256, dtype=np.uint8)[:, None]
    table = cv2.applyColorMap(steps, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    colours: Image = table[np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)]
    return colours


def limits(values_THW: NDArray[np.floating]) -> tuple[float, float]:
    """Values that are given the darkest and the brightest colour: the extremes of the clip.

    Of a map as fine as the frames the brightest half per cent is cut.
    """
    low, high = float(values_THW.min()), float(values_THW.max())
    if values_THW[0].size > _FINE:
        cut = float(np.quantile(values_THW, _BRIGHTEST))
        high = cut if cut > low else high
    return low, high


def spread(
    values_THW: NDArray[np.floating], num_frames: int, height: int, width: int
) -> NDArray[np.float32]:
    """Values in between the cells of a map, (num_frames, height, width).

    Trilinear with cells as areas (``align_corners=False`` in torch's `interpolate`).
    """
    import cv2

    cells = len(values_THW)
    place = np.clip((np.arange(num_frames) + 0.5) * cells / num_frames - 0.5, 0, cells - 1)
    before = np.minimum(place.astype(int), max(0, cells - 2))
    after = np.minimum(before + 1, cells - 1)
    share = (place - before).astype(np.float32)[:, None, None]
    values_FHW = (1 - share) * values_THW[before] + share * values_THW[after]
    return np.stack(
        [
            cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            for plane in values_FHW
        ]
    )


def overlay(image: Image, heat_HW: NDArray[np.floating], view_xyxy: NDArray[np.floating]) -> Image:
    """The frame in grey with a map over what the network saw; the rest is dark.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), uint8
    heat_HW : ndarray of shape (h, w)
        In 0..1; of the size of the view, see `view_in`.
    view_xyxy : ndarray of shape (4,)
        In pixels of the image.
    """
    rows, columns = view_in(image, view_xyxy)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    out = np.repeat(_OUTSIDE * grey, 3, axis=2)
    inside = (1 - _OPACITY) * grey[rows, columns] + _OPACITY * viridis(heat_HW)
    out[rows, columns] = inside
    return out.round().astype(np.uint8)


def view_in(image: Image, view_xyxy: NDArray[np.floating]) -> tuple[slice, slice]:
    """Rows and columns of the pixels that lie in the view."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(float(v)) for v in view_xyxy)
    x1, y1 = min(max(0, x1), width - 1), min(max(0, y1), height - 1)
    return slice(y1, max(y1 + 1, min(y2, height))), slice(x1, max(x1 + 1, min(x2, width)))


def map_frames(
    one: ActivationMap, frames: Frames, chosen: Sequence[int] | NDArray[np.int64]
) -> list[Image]:
    """Frames of the clip, by their place in it, with the map over them."""
    images = frames.decode(one.frames_F[list(chosen)])
    rows, columns = view_in(images[0], one.view_xyxy)
    low, high = limits(one.values_THW)
    size = rows.stop - rows.start, columns.stop - columns.start
    heat = spread(one.values_THW, len(one.frames_F), *size)[list(chosen)]
    heat = (heat - low) / (high - low) if high > low else np.zeros_like(heat)
    return [overlay(image, plane, one.view_xyxy) for image, plane in zip(images, heat, strict=True)]


def colour_bar(one: ActivationMap, height: int) -> Image:
    """The colours from bottom to top, with the values of the darkest and the brightest."""
    low, high = (f"{value:.3g}" for value in limits(one.values_THW))
    wide = _BAR + 4 + max(text_width(low), text_width(high))
    bar = np.full((height, wide, 3), PAPER, np.uint8)
    bar[:, :_BAR] = viridis(np.linspace(1, 0, height))[:, None]
    write(bar, high, (_BAR + 4, 11), INK)
    write(bar, low, (_BAR + 4, height - 2), INK)
    return bar


def map_sheet(maps: Sequence[ActivationMap], frames: Frames) -> Image:
    """Clips side by side: some frames of each, and under them every map with its scale."""
    columns = []
    for clip in clips_of(maps):
        first = clip[0]
        plain = frames.decode(first.frames_F[_spans(len(first.frames_F))])
        heading = f"{frames.video_id}   {_seconds(first, frames)}"
        rows = [caption(strip(list(plain), height=_HEIGHT), heading)]
        for one in clip:
            tiles = map_frames(one, frames, _spans(len(one.frames_F)))
            row = strip([*_asked(one, frames), *tiles], height=_HEIGHT)
            row = strip([row, colour_bar(one, _HEIGHT)], height=_HEIGHT)
            rows.append(caption(row, title(one)))
        columns.append(stack(rows))
    return grid(columns, columns=len(columns), gap=12)


def map_film(
    maps: Sequence[ActivationMap], frames: Frames
) -> tuple[Iterator[Image], NDArray[np.float64]]:
    """Each clip plays beside its maps, one below the other; shorter ones hold their last frame.

    Returns
    -------
    images : iterator of ndarray of shape (H, W, 3), uint8
    pts_seconds : ndarray, float64
        Steps are those of the first clip.
    """
    lines = []  # of a clip: title, frames and legend of each panel
    for clip in clips_of(maps):
        plain = list(frames.decode(clip[0].frames_F))
        panels: list[tuple[str, list[Image], list[Image]]] = [
            (f"{frames.video_id}, {_seconds(clip[0], frames)}", plain, [])
        ]
        for one in clip:
            drawn = map_frames(one, frames, range(len(one.frames_F)))
            asked = [strip([image], height=_PANEL) for image in _asked(one, frames)]
            panels.append((title(one), drawn, [*asked, colour_bar(one, _PANEL)]))
        lines.append(panels)

    def images() -> Iterator[Image]:
        for t in range(count):
            rows = []
            for panels in lines:
                cells = []
                for text, drawn, beside in panels:
                    now = strip([drawn[min(t, len(drawn) - 1)]], height=_PANEL)
                    cells.append(caption(strip([now, *beside], height=_PANEL), text))
                rows.append(grid(cells, columns=min(len(cells), _COLUMNS)))
            yield stack(rows)

    count = max(len(one.frames_F) for one in maps)
    return images(), np.arange(count, dtype=np.float64) * _step_seconds(maps[0], frames)


def clips_of(maps: Sequence[ActivationMap]) -> list[list[ActivationMap]]:
    """Maps of the same frames and view together, in the order they come."""
    found: dict[tuple[object, ...], list[ActivationMap]] = {}
    for one in maps:
        found.setdefault((*one.frames_F.tolist(), *one.view_xyxy.tolist()), []).append(one)
    return list(found.values())


def title(one: ActivationMap) -> str:
    """What is written above a map."""
    return f"{one.kind}: {one.text}" if one.text else one.kind


def _asked(one: ActivationMap, frames: Frames) -> list[Image]:
    """The box that is looked for, in its frame, if there is one."""
    if one.asked_frame is None or one.asked_xyxy is None:
        return []
    return [draw_boxes(frames.decode([one.asked_frame])[0], one.asked_xyxy[None])]


def _seconds(one: ActivationMap, frames: Frames) -> str:
    times = frames.pts_seconds[one.frames_F]
    return f"{times.min():.2f} to {times.max():.2f} s"


def _spans(length: int) -> NDArray[np.int64]:
    """The middles of a few equal spans."""
    count = min(length, _TILES)
    return ((np.arange(count) + 0.5) * length / count).astype(int)


def _step_seconds(one: ActivationMap, frames: Frames) -> float:
    """Time from one frame of the clip to the next; a short video may have started anew."""
    steps = np.diff(frames.pts_seconds[one.frames_F])
    forward = steps[steps > 0]
    return float(np.median(forward)) if len(forward) else 1.0
