"""What a stage found in a frame, as marks; and how marks are drawn.

A stage says *what* is to be seen, in pixels of the stored frame. How large the picture is,
how thick the lines are and where a label finds room is decided here, once for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import WHITE, Colour, Image, contrast, palette, plate, plate_size, resized
from storage_schemas.boxes import Boxes

if TYPE_CHECKING:
    from storage_schemas.trajectories import Trajectories

_TINT = 0.35  # opacity of a mask
_CERTAIN = 0.5  # least score of a tube that is seen
_TEXT = 11, 28  # least and largest size of text, pixels


@dataclass(frozen=True, eq=False, kw_only=True)
class Mark:
    """Something to be seen in a frame.

    Parameters
    ----------
    colour : int
        Index into the palette: what is the same thing in two frames keeps its colour.
    xyxy : ndarray of shape (4,), optional
        A box, half-open, in pixels of the stored frame.
    mask_HW : ndarray of shape (H, W), bool, optional
        Pixels to be tinted and outlined.
    regions_HW : ndarray of shape (h, w), integer, optional
        A label map of the frame, in any size, whose borders are drawn.
    path_N2 : ndarray of shape (N, 2), optional
        Points (x, y) joined by a line: a way through time.
    text : str
        Of a label at the box.
    faint : bool
        Less certain: thin lines, no tint.
    """

    colour: int = 0
    xyxy: NDArray[np.floating | np.integer] | None = None
    mask_HW: NDArray[np.bool_] | None = None
    regions_HW: NDArray[np.integer] | None = None
    path_N2: NDArray[np.floating] | None = None
    text: str = ""
    faint: bool = False


def box_marks(boxes: Boxes, frame: int) -> list[Mark]:
    """Marks of the boxes of a frame; the columns that are filled decide on their looks.

    Tubes have the colour and the number of their track, and their mask; detections have a
    colour a class, its name and their score; other boxes are told apart by colour only.
    A tube is faint where its score says that it was not seen, only carried on.
    """
    colours, faint_N = class_colours(boxes), carried_on(boxes)
    marks = []
    for i, row in enumerate(range(len(boxes))[boxes.in_frame(frame)]):
        colour, words = i, []
        if boxes.label is not None:
            colour, words = colours[boxes.label[row]], [boxes.label[row]]
            words += [] if boxes.score is None else [f"{boxes.score[row]:.2f}"]
        if boxes.track is not None:
            colour, words = int(boxes.track[row]), [str(boxes.track[row]), *words]
        marks.append(
            Mark(
                colour=colour,
                xyxy=boxes.xyxy[row],
                mask_HW=None if boxes.mask_runs is None else boxes.mask(row),
                text=" ".join(words),
                faint=bool(faint_N[row]),
            )
        )
    return marks


def carried_on(boxes: Boxes) -> NDArray[np.bool_]:
    """Rows (N,) of tubes whose score says that the object itself was not seen there."""
    if boxes.track is None or boxes.score is None:
        return np.zeros(len(boxes), bool)
    return boxes.score < _CERTAIN


def patch_marks(bank: Trajectories, entry: int, frame: int) -> list[Mark]:
    """Boxes of the patches of a bank entry, with their numbers, and the ways they go.

    A patch that is not pasted in the frame says so; its box is to be told all the same.
    """
    marks = []
    for k, boxes_T4 in enumerate(bank.boxes_NKT4[entry]):
        path_T2 = (boxes_T4[:, :2] + boxes_T4[:, 2:]) / 2
        hidden = not bank.visible_NKT[entry, k, frame]
        text = f"{k} hidden" if hidden else str(k)
        xyxy = boxes_T4[frame]
        marks.append(Mark(colour=k, xyxy=xyxy, path_N2=path_T2, text=text, faint=hidden))
    return marks


def class_colours(boxes: Boxes) -> dict[str, int]:
    """Index into the palette for each class of a video, the commonest first."""
    return {name: i for i, (name, _) in enumerate(Counter(boxes.label or ()).most_common())}


def draw_marks(image_HWC: Image, marks: Sequence[Mark], *, scale: float = 1.0) -> Image:
    """A copy of the frame, enlarged or shrunk, with the marks drawn.

    Parameters
    ----------
    image_HWC : ndarray of shape (H, W, 3), uint8
    marks : sequence of Mark
        Later ones lie above earlier ones; labels lie above everything.
    scale : float
        Size of the picture over that of the frame.
    """
    height, width = (max(1, round(side * scale)) for side in image_HWC.shape[:2])
    out = np.array(resized(image_HWC, height, width))
    line = max(1, round(min(height, width) / 200))
    for mark in marks:
        if mark.regions_HW is not None:
            _draw_borders(out, mark.regions_HW, line)
    for mark in marks:
        if mark.mask_HW is not None:
            tint = 0.0 if mark.faint else _TINT
            _draw_mask(out, mark.mask_HW, palette(mark.colour), line=line, tint=tint)
    for mark in marks:
        if mark.path_N2 is not None:
            _draw_path(out, mark.path_N2 * scale, palette(mark.colour), line)
    placed = []
    for mark in marks:
        if mark.xyxy is not None:
            box = _in_picture(mark.xyxy, image_HWC.shape, (height, width))
            thick = 1 if mark.faint else line + 1
            # A second line inside tells the box apart from a background of its colour.
            _draw_frame(out, box, contrast(palette(mark.colour)), thick + 1)
            _draw_frame(out, box, palette(mark.colour), thick)
            placed.append((box, mark))
    _draw_labels(out, placed)
    return out


def text_size(height: int, width: int) -> int:
    """Size of text in pixels that suits a picture."""
    return int(np.clip(round(min(height, width) / 34), *_TEXT))


_Box = tuple[int, int, int, int]  # x1, y1, x2, y2 of the picture, half-open


def _in_picture(
    xyxy: NDArray[np.floating | np.integer], frame: tuple[int, ...], picture: tuple[int, int]
) -> _Box:
    scale = np.array([picture[1] / frame[1], picture[0] / frame[0]] * 2)
    x1, y1, x2, y2 = (round(float(v)) for v in np.asarray(xyxy) * scale)
    x1, y1 = min(x1, picture[1] - 1), min(y1, picture[0] - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _draw_frame(image: Image, box: _Box, colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = box
    across, down = min(line, x2 - x1), min(line, y2 - y1)
    inside = image[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)]
    inside[:down] = inside[-down:] = inside[:, :across] = inside[:, -across:] = colour


def _draw_mask(
    image: Image, mask_HW: NDArray[np.bool_], colour: Colour, *, line: int, tint: float
) -> None:
    import cv2

    height, width = image.shape[:2]
    large = cv2.resize(mask_HW.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    inside = large.astype(bool)
    image[inside] = (1 - tint) * image[inside] + tint * np.asarray(colour)
    outline, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outline, -1, colour, line)


def _draw_path(image: Image, path_N2: NDArray[np.floating], colour: Colour, line: int) -> None:
    import cv2

    points = [np.round(path_N2).astype(np.int32)]
    cv2.polylines(image, points, False, contrast(colour), line + 3, cv2.LINE_AA)
    cv2.polylines(image, points, False, colour, line + 1, cv2.LINE_AA)


def _draw_borders(image: Image, regions_HW: NDArray[np.integer], line: int) -> None:
    import cv2

    height, width = image.shape[:2]
    large = cv2.resize(
        regions_HW.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    )
    border = np.zeros((height, width), np.uint8)
    border[:, :-1] |= large[:, 1:] != large[:, :-1]
    border[:-1] |= large[1:] != large[:-1]
    border = cv2.dilate(border, np.ones((line, line), np.uint8))
    image[cv2.dilate(border, np.ones((3, 3), np.uint8)).astype(bool)] //= 3
    image[border.astype(bool)] = WHITE


def _draw_labels(image: Image, placed: Sequence[tuple[_Box, Mark]]) -> None:
    """Write each label where it hides no other: above its box, else inside or below."""
    height, width = image.shape[:2]
    size = text_size(height, width)
    taken: list[_Box] = []
    for (x1, y1, x2, y2), mark in placed:
        if not mark.text:
            continue
        wide, high = plate_size(mark.text, size)
        corners = [
            (min(max(0, x), max(0, width - wide)), y)
            for y in (y1 - high, y1, y2 - high, y2)
            for x in (x1, x2 - wide)
            if 0 <= y <= height - high
        ] or [(max(0, x1), max(0, y1))]
        rooms = [(x, y, x + wide, y + high) for x, y in corners]
        room = next((room for room in rooms if not _hits(room, taken)), rooms[0])
        taken.append(room)
        plate(image, mark.text, room[:2], palette(mark.colour), size=size)


def _hits(box: _Box, others: Sequence[_Box]) -> bool:
    return any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in others
    )
