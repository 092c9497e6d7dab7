"""The network's image and the way back, in exact numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.detect.network_input import InputSpec


@pytest.mark.parametrize("resize", ["fit", "corner", "stretch"])
@pytest.mark.parametrize("size", [(240, 426), (426, 240), (64, 64), (5, 900)])
def test_boxes_come_back(size: tuple[int, int], resize: Any) -> None:
    """A white rectangle, found again in the network's image and mapped back."""
    height, width = size
    frame = np.zeros((*size, 3), np.uint8)
    expected = np.array([width // 4, height // 5, width // 2, height], np.float32)
    x1, y1, x2, y2 = expected.astype(int)
    frame[y1:y2, x1:x2] = 255
    spec = InputSpec(height=320, width=416, resize=resize, bars=0)
    pixels = spec.place(frame)
    assert pixels.shape == (320, 416, 3)
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    corners = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    back = spec.back(corners, height=height, width=width)
    assert back.dtype == np.float32
    one_pixel = spec.back(corners + 1, height=height, width=width) - back
    assert (np.abs(back[0] - expected) <= one_pixel + 0.5).all()


@pytest.mark.parametrize(
    ("resize", "size", "inside"),
    [
        ("fit", (40, 80), (slice(2, 6), slice(0, 8))),  # bars above and below
        ("fit", (80, 40), (slice(0, 8), slice(2, 6))),
        ("corner", (40, 80), (slice(0, 4), slice(0, 8))),
        ("corner", (80, 40), (slice(0, 8), slice(0, 4))),
        ("stretch", (40, 80), (slice(0, 8), slice(0, 8))),
    ],
)
def test_where_the_bars_are(resize: Any, size: tuple[int, int], inside: Any) -> None:
    spec = InputSpec(height=8, width=8, resize=resize, bars=7)
    pixels = spec.place(np.full((*size, 3), 200, np.uint8))
    assert (pixels[inside] == 200).all()
    assert (pixels == 200).sum() == pixels[inside].size
    assert set(pixels.ravel()) <= {7, 200}


def test_prepare_worked_numbers() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    frame[0, 1] = (10, 20, 30)
    spec: dict[str, Any] = {"height": 2, "width": 2, "mean": (1, 2, 3), "std": (2, 4, 5)}
    rgb = InputSpec(**spec).prepare(frame)
    assert rgb.shape == (1, 3, 2, 2)
    assert rgb[0, :, 0, 1].tolist() == [4.5, 4.5, np.float32(5.4)]
    assert rgb[0, :, 1, 1].tolist() == [-0.5, -0.5, np.float32(-0.6)]
    bgr = InputSpec(**spec, colour="bgr").prepare(frame)
    assert bgr[0, :, 0, 1].tolist() == [14.5, 4.5, np.float32(1.4)]
    last = InputSpec(**spec, layout="NHWC").prepare(frame)
    np.testing.assert_array_equal(last, rgb.transpose(0, 2, 3, 1), strict=True)
    assert last.flags.c_contiguous
    half = InputSpec(**spec, dtype="float16").prepare(frame)
    np.testing.assert_array_equal(half, rgb.astype(np.float16), strict=True)
    raw = InputSpec(**spec, dtype="uint8", layout="NHWC", colour="bgr").prepare(frame)
    np.testing.assert_array_equal(raw, frame[None, ..., ::-1], strict=True)
    raw = InputSpec(**spec, dtype="uint8").prepare(frame)
    np.testing.assert_array_equal(raw, frame[None].transpose(0, 3, 1, 2), strict=True)
