"""Pictures of artifacts: what people would rather look at than a table.

Images are RGB, uint8, (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import INK, PAPER, Image, palette, plate, resized, text_width, write
from pipeline.marks import Mark, draw_marks

MAX_BYTES = 150_000  # of a picture in the Prefect database
_GAP = 4
_LINE = 20  # height of a line of text, pixels


def strip(frames: Sequence[Image], *, height: int = 120) -> Image:
    """Frames side by side, scaled to one height."""
    return _row([_scaled(frame, height) for frame in frames], _GAP)


def stack(images: Sequence[Image], *, gap: int = _GAP) -> Image:
    """Images below each other, at the left; narrow ones are padded."""
    width = max(image.shape[1] for image in images)
    height = sum(len(image) for image in images) + gap * (len(images) - 1)
    out = np.full((height, width, 3), PAPER, np.uint8)
    y = 0
    for image in images:
        out[y : y + len(image), : image.shape[1]] = image
        y += len(image) + gap
    return out


def grid(images: Sequence[Image], *, columns: int, gap: int = _GAP) -> Image:
    """Images in rows of `columns`, each cell as large as the largest image."""
    height = max(len(image) for image in images)
    width = max(image.shape[1] for image in images)
    cells = [_padded(image, height, width) for image in images]
    rows = [_row(cells[i : i + columns], gap) for i in range(0, len(cells), columns)]
    return stack(rows, gap=gap)


def _row(images: Sequence[Image], gap: int) -> Image:
    upright = [image.transpose(1, 0, 2) for image in images]
    return np.ascontiguousarray(stack(upright, gap=gap).transpose(1, 0, 2))


def _padded(image: Image, height: int, width: int) -> Image:
    out = np.full((height, width, 3), PAPER, np.uint8)
    out[: len(image), : image.shape[1]] = image
    return out


def _scaled(image: Image, height: int) -> Image:
    return resized(image, height, max(1, round(image.shape[1] * height / len(image))))


def draw_boxes(
    frame: Image, xyxy: NDArray[np.floating], *, ids: Sequence[int] | None = None
) -> Image:
    """A copy of the frame with boxes (N, 4); `ids` choose the colours and are written."""
    numbers = range(len(xyxy)) if ids is None else ids
    return draw_marks(
        frame,
        [
            Mark(colour=number, xyxy=box, text="" if ids is None else str(number))
            for number, box in zip(numbers, xyxy, strict=True)
        ],
    )


def caption(image: Image, text: str) -> Image:
    """The image with a line of text above it."""
    line = np.full((_LINE, max(image.shape[1], text_width(text) + 4), 3), PAPER, np.uint8)
    write(line, text, (2, _LINE - 6), INK)
    return stack([line, image], gap=0)


def line_plot(
    series: Mapping[str, Sequence[float]], *, title: str, width: int = 640, height: int = 240
) -> Image:
    """Curves over their index, with the ends of the value axis written on it."""
    import cv2

    image = np.full((height, width, 3), PAPER, np.uint8)
    left, right, top, bottom = 60, width - 12, 28, height - 24
    values = np.concatenate([np.asarray(list(v), float) for v in series.values()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    cv2.rectangle(image, (left, top), (right, bottom), (200, 200, 200), 1)
    write(image, title, (left, 18), INK)
    write(image, f"{high:.3g}", (4, top + 10), INK)
    write(image, f"{low:.3g}", (4, bottom), INK)
    for i, (name, curve) in enumerate(series.items()):
        y = np.asarray(list(curve), float)
        x = np.linspace(left, right, max(2, len(y)))[: len(y)]
        points = np.stack([x, bottom - (y - low) / (high - low) * (bottom - top)], axis=1)
        line = [points[np.isfinite(y)].round().astype(np.int32)]
        cv2.polylines(image, line, False, INK, 4, cv2.LINE_AA)  # bright colours need an outline
        cv2.polylines(image, line, False, palette(i), 2, cv2.LINE_AA)
        text = f"{name}: {y[-1]:.3g}"
        plate(image, text, (right - text_width(text) - 6, 4 + 18 * i), palette(i))
    return image


def bar_chart(bars: Mapping[str, Mapping[str, float]], *, title: str, width: int = 640) -> Image:
    """Horizontal bars, values in 0..1: group -> name -> value; names share colours."""
    import cv2

    names = list(dict.fromkeys(name for group in bars.values() for name in group))
    line = 20
    height = 30 + sum(line * len(group) + 10 for group in bars.values())
    image = np.full((height, width, 3), PAPER, np.uint8)
    write(image, title, (6, 16), INK)
    left, y = 260, 30
    for group, values in bars.items():
        for i, (name, value) in enumerate(values.items()):
            colour = palette(names.index(name))
            write(image, group if i == 0 else "", (6, y + 12), INK)
            plate(image, name, (left - 84, y), colour)
            end = left + round((width - left - 60) * float(np.clip(value, 0, 1)))
            cv2.rectangle(image, (left, y + 2), (end, y + 13), colour, -1)
            cv2.rectangle(image, (left, y + 2), (end, y + 13), INK, 1)
            write(image, f"{100 * value:.1f} %", (end + 4, y + 12), INK)
            y += line
        y += 10
    return image


def encode_under(image: Image, *, max_bytes: int = MAX_BYTES) -> bytes:
    """JPEG of at most `max_bytes`: lower quality first, then smaller.

    Raises
    ------
    ValueError
        If `max_bytes` is less than the headers of a JPEG need, about 700.
    """
    from storage_schemas.jpeg import encode_jpeg

    smallest = len(encode_jpeg(image[:1, :1], quality=60))
    if max_bytes < smallest:
        raise ValueError(f"no JPEG fits in {max_bytes} bytes; allow at least {smallest}")
    while True:
        for quality in (90, 80, 70, 60):
            data = encode_jpeg(image, quality=quality)
            if len(data) <= max_bytes:
                return data
        height, width = (max(1, side * 3 // 4) for side in image.shape[:2])
        image = resized(image, height, width)
