"""Contact sheet of one video: a few frames with what a stage found in them.

Below tubes and detections lies a time line: which object, or class, was there when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import INK, PAPER, Image, palette, text_width, write
from pipeline.marks import carried_on, class_colours, draw_marks
from pipeline.pictures import caption, grid, stack
from pipeline.wording import counted
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    from pipeline.stage import VideoStage

WIDTH = 1000  # of a sheet: four of them fit into the 150 kB of a picture, in most cases
_MAX_TILES = 8
_LANE, _MAX_LANES = 14, 8  # height of a line of the time line, and their number
_TEXT, _TICK = 11, 90


def contact_sheet(
    stage: VideoStage, output: Any, frames: Frames, *, width: int = WIDTH, rows: int = 1
) -> Image:
    """Title, frames with marks, and the time line of one video.

    Parameters
    ----------
    stage : VideoStage
        Says by `VideoStage.marks` what is to be seen.
    output : Boxes, Frames or another noun
        What the stage found.
    frames : Frames
        The frames it refers to.
    width : int
        Of a row of frames in pixels, roughly.
    rows : int
        Of frames.
    """
    # Four wide frames fill the row; upright ones get nearly as large, and there are more.
    scale = width / 4 / np.sqrt(16 / 9 * frames.width * frames.height)
    scale = min(scale, width / 5.5 / frames.height, width / 4 / frames.width)
    columns = min(_MAX_TILES, int(width // max(1, frames.width * scale)))
    chosen = choose_frames(stage, output, frames, rows * columns)
    tiles = []
    for t in chosen:
        image = frames.decode([t])[0]
        picture = draw_marks(image, stage.marks(t, output, frames), scale=scale)
        line = np.full((_LANE, picture.shape[1], 3), PAPER, np.uint8)
        write(line, f"{t}: {frames.pts_seconds[t]:.2f} s", (0, _LANE - 3), INK, size=_TEXT)
        tiles.append(stack([picture, line], gap=0))
    parts = [grid(tiles, columns=columns)]
    lanes = time_line(stage, output, parts[0].shape[1])
    if lanes is not None:
        parts.append(lanes.at(chosen))
    return caption(stack(parts), f"{frames.video_id}   {describe(stage, output)}")


def choose_frames(stage: VideoStage, output: Any, frames: Frames, count: int) -> list[int]:
    """One frame from each of `count` equal spans of time, of those the stage looked at.

    It is the one nearest to the middle of its span that has boxes; a span without any
    shows its middle. Rich frames are not preferred: the sheet is not to flatter.
    """
    looked_at = np.asarray([t for t in range(len(frames)) if stage.marked_frame(t) == t])
    filled = np.isin(looked_at, output.frame) if isinstance(output, Boxes) else None
    chosen = []
    for span in np.array_split(np.arange(len(looked_at)), min(count, len(looked_at))):
        found = span if filled is None or not filled[span].any() else span[filled[span]]
        middle = (span[0] + span[-1]) / 2
        chosen.append(int(looked_at[found[np.argmin(np.abs(found - middle))]]))
    return chosen


def describe(stage: VideoStage, output: Any) -> str:
    """What was found in a video, in a few words; frames are those that were looked at."""
    if isinstance(output, Frames):
        seconds = output.pts_seconds[-1] - output.pts_seconds[0]
        return f"{counted(len(output), 'frame')} in {seconds:.1f} s, {output.width}x{output.height}"
    if not isinstance(output, Boxes):
        return ""
    looked_at = sum(stage.marked_frame(t) == t for t in range(output.num_frames))
    if not len(output):
        return f"nothing found in {counted(looked_at, 'frame')}"
    where = f"in {len(np.unique(output.frame))} of {counted(looked_at, 'frame')}"
    if output.track is not None:
        return f"{counted(len(np.unique(output.track)), 'tube')} {where}"
    if output.label is not None:
        return f"{counted(len(output), 'detection')} {where}"
    return f"{counted(len(output), 'box')} {where}"


@dataclass(frozen=True, eq=False)
class TimeLine:
    """A picture of who was there when; ``x_T`` is the column of each frame."""

    image: Image
    x_T: NDArray[np.int64]

    def at(self, frames: Sequence[int]) -> Image:
        """The picture with a tick at some frames."""
        ticked = self.image.copy()
        ticked[:, self.x_T[frames]] = _TICK
        return ticked


def time_line(stage: VideoStage, output: Any, width: int) -> TimeLine | None:
    """A line for each tube or class, with a bar where it was seen, thin where carried on.

    The longest 8 are shown; None where boxes have neither a track nor a class.
    """
    lanes = _lanes(output) if isinstance(output, Boxes) else []
    if not lanes:
        return None
    faint_N = carried_on(output)
    shown_at = np.asarray([stage.marked_frame(t) for t in range(output.num_frames)])
    gutter = max(text_width(text, _TEXT) for text, *_ in lanes) + 4
    edges = np.linspace(gutter, max(width, gutter + 1), len(shown_at) + 1)
    image = np.full((_LANE * len(lanes), round(edges[-1]), 3), PAPER, np.uint8)
    # Of each column the frame that it lies in.
    frame_X = np.searchsorted(edges, np.arange(gutter, image.shape[1]) + 0.5) - 1
    for i, (text, colour, rows) in enumerate(lanes):
        top, bottom = _LANE * i + 2, _LANE * (i + 1) - 2
        for chosen, inset in ((rows, 3), (rows[~faint_N[rows]], 0)):
            seen = np.isin(shown_at, output.frame[chosen])[frame_X]
            bar = gutter + np.flatnonzero(seen)
            image[top + inset : bottom - inset, bar] = INK  # bright colours need an outline
            image[top + inset + 1 : bottom - inset - 1, bar] = palette(colour)
        write(image, text, (0, bottom - 1), INK, size=_TEXT)
    return TimeLine(image, ((edges[:-1] + edges[1:]) / 2).astype(int))


def _lanes(boxes: Boxes) -> list[tuple[str, int, NDArray[np.int64]]]:
    """Name, colour and rows of each tube, else of each class; the longest, in order."""
    if boxes.track is not None:
        tracks = boxes.track
        lanes = [(str(k), int(k), np.flatnonzero(tracks == k)) for k in np.unique(tracks)]
    elif boxes.label is not None:
        labels = np.asarray(boxes.label)
        colours = class_colours(boxes)
        lanes = [(name, i, np.flatnonzero(labels == name)) for name, i in colours.items()]
    else:
        return []
    longest = sorted(range(len(lanes)), key=lambda i: -len(lanes[i][2]))[:_MAX_LANES]
    return [lanes[i] for i in sorted(longest)]
