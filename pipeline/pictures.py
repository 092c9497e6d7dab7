"""Pictures of artifacts: what people would rather look at than a table.

Images are RGB, uint8, (H, W, 3). OpenCV is imported on first use, so that planning never
loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

MAX_BYTES = 150_000  # of a picture in the Prefect database
_GAP, _PAPER, _INK = 4, 255, (40, 40, 40)
_COLOURS = (
    (230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 155, 127), (132, 145, 180),
    (220, 180, 20), (126, 97, 72), (200, 80, 200),
)  # fmt: skip


def palette(index: int) -> tuple[int, int, int]:
    """A colour that differs from its neighbours'; repeats after 8."""
    return _COLOURS[index % len(_COLOURS)]


def strip(frames: Sequence[Image], *, height: int = 120) -> Image:
    """Frames side by side, scaled to one height."""
    return _row([_scaled(frame, height) for frame in frames], _GAP)


def stack(images: Sequence[Image], *, gap: int = _GAP) -> Image:
    """Images below each other, at the left; narrow ones are padded."""
    width = max(image.shape[1] for image in images)
    height = sum(len(image) for image in images) + gap * (len(images) - 1)
    out = np.full((height, width, 3), _PAPER, np.uint8)
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
    out = np.full((height, width, 3), _PAPER, np.uint8)
    out[: len(image), : image.shape[1]] = image
    return out


def _scaled(image: Image, height: int) -> Image:
    return _resized(image, height, max(1, round(image.shape[1] * height / len(image))))


def _resized(image: Image, height: int, width: int) -> Image:
    import cv2

    mode = cv2.INTER_AREA if height < len(image) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=mode), np.uint8)


def draw_boxes(
    frame: Image,
    xyxy: NDArray[np.float32],
    *,
    ids: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
) -> Image:
    """A copy of the frame with boxes (N, 4); `ids` choose the colours."""
    import cv2

    out = np.ascontiguousarray(frame).copy()
    thickness = max(1, min(frame.shape[:2]) // 120)
    for i, box in enumerate(np.asarray(xyxy)):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        colour = palette(ids[i] if ids is not None else i)
        cv2.rectangle(out, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), colour, thickness)
        if labels is not None:
            _write(out, labels[i], (x1 + 2, y1 + 12), colour)
    return out


def draw_mask(
    frame: Image, mask_HW: NDArray[np.bool_], *, colour: tuple[int, int, int], alpha: float = 0.5
) -> Image:
    """A copy of the frame with the mask tinted."""
    out = frame.astype(np.float32)
    out[mask_HW] = (1 - alpha) * out[mask_HW] + alpha * np.asarray(colour, np.float32)
    return out.astype(np.uint8)


def caption(image: Image, text: str) -> Image:
    """The image with a line of text above it."""
    line = np.full((18, max(image.shape[1], 8 * len(text)), 3), _PAPER, np.uint8)
    _write(line, text, (2, 13), _INK)
    return stack([line, image])


def line_plot(
    series: Mapping[str, Sequence[float]], *, title: str, width: int = 640, height: int = 240
) -> Image:
    """Curves over their index, with the ends of the value axis written on it."""
    import cv2

    image = np.full((height, width, 3), _PAPER, np.uint8)
    left, right, top, bottom = 60, width - 12, 28, height - 24
    values = np.concatenate([np.asarray(list(v), float) for v in series.values()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    cv2.rectangle(image, (left, top), (right, bottom), (200, 200, 200), 1)
    _write(image, title, (left, 18), _INK)
    _write(image, f"{high:.3g}", (4, top + 10), _INK)
    _write(image, f"{low:.3g}", (4, bottom), _INK)
    for i, (name, curve) in enumerate(series.items()):
        y = np.asarray(list(curve), float)
        x = np.linspace(left, right, max(2, len(y)))[: len(y)]
        points = np.stack([x, bottom - (y - low) / (high - low) * (bottom - top)], axis=1)
        cv2.polylines(
            image, [points[np.isfinite(y)].round().astype(np.int32)], False, palette(i), 2,
            cv2.LINE_AA,
        )  # fmt: skip
        _write(image, f"{name}: {y[-1]:.3g} after {len(y)}", (right - 200, 18 + 14 * i), palette(i))
    return image


def bar_chart(bars: Mapping[str, Mapping[str, float]], *, title: str, width: int = 640) -> Image:
    """Horizontal bars, values in 0..1: group -> name -> value; names share colours."""
    import cv2

    names = list(dict.fromkeys(name for group in bars.values() for name in group))
    line = 18
    height = 30 + sum(line * len(group) + 10 for group in bars.values())
    image = np.full((height, width, 3), _PAPER, np.uint8)
    _write(image, title, (6, 16), _INK)
    left, y = 260, 30
    for group, values in bars.items():
        for i, (name, value) in enumerate(values.items()):
            _write(image, f"{group if i == 0 else ''}", (6, y + 12), _INK)
            _write(image, name, (left - 84, y + 12), palette(names.index(name)))
            end = left + round((width - left - 60) * float(np.clip(value, 0, 1)))
            cv2.rectangle(image, (left, y + 2), (end, y + 13), palette(names.index(name)), -1)
            _write(image, f"{100 * value:.1f} %", (end + 4, y + 12), _INK)
            y += line
        y += 10
    return image


def _write(image: Image, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    import cv2

    # OpenCV's Hershey fonts are ASCII only.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


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
        image = _resized(image, height, width)
