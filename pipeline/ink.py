"""What every picture is made of: colours and text that everybody can read, scaled pixels.

Images are RGB, uint8, (H, W, 3). OpenCV is imported on first use, so that planning never
loads it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

INK: Colour = (40, 40, 40)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
PAPER = 255
TEXT = 13  # pixels, of text outside of frames
# Found by a search from Okabe and Ito's colours (docs/decisions/0012-pictures.md): far apart
# for every kind of colour vision, and in lightness, so that they survive a grey printer.
PALETTE: tuple[Colour, ...] = (
    (219, 8, 88), (231, 193, 245), (190, 250, 2), (0, 77, 213),
    (26, 210, 144), (4, 136, 255), (199, 151, 8), (255, 255, 255),
)  # fmt: skip
_PADDING = 2  # pixels around the text of a plate


def resized(image: Image, height: int, width: int) -> Image:
    """The image in another size; not a copy where the size is its own."""
    import cv2

    if image.shape[:2] == (height, width):
        return image
    mode = cv2.INTER_AREA if height < len(image) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=mode), np.uint8)


def palette(index: int) -> Colour:
    """A colour that differs from its neighbours'; repeats after 8."""
    return PALETTE[index % len(PALETTE)]


def contrast(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on the colour (WCAG 2 contrast)."""
    linear = ((np.asarray(colour) / 255 + 0.055) / 1.055) ** 2.4
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return BLACK if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else WHITE


def write(
    image: Image, text: str, place: tuple[int, int], colour: Colour, *, size: int = TEXT
) -> None:
    """Write into the image; `place` is the left end of the base line, `size` in pixels."""
    import cv2

    cv2.putText(image, text, place, colour, _font(), size, 500)


def text_width(text: str, size: int = TEXT) -> int:
    """Width of a line of text in pixels."""
    import cv2

    _, _, width, _ = cv2.getTextSize((10_000, 100), text, (0, 0), _font(), size, 500)
    return int(width) + 1


def plate_size(text: str, size: int = TEXT) -> tuple[int, int]:
    """Width and height of a `plate` in pixels."""
    return text_width(text, size) + 2 * _PADDING + 1, size + 2 * _PADDING


def plate(
    image: Image, text: str, place: tuple[int, int], colour: Colour, *, size: int = TEXT
) -> None:
    """Write on a plate of the colour, legible on any background; `place` is its top left."""
    (width, height), (x, y) = plate_size(text, size), place
    image[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = colour
    base = y + height - _PADDING - round(0.2 * size)
    write(image, text, (x + _PADDING + 1, base), contrast(colour), size=size)


@functools.cache
def _font() -> Any:
    import cv2

    return cv2.FontFace("sans")  # is part of OpenCV 5, and knows more than ASCII
