"""JPEG bytes <-> RGB arrays: the pixel codec of every noun that holds frames.

OpenCV's libjpeg-turbo; imported on first use, so that planning never loads it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError


def encode_jpeg(frame_HWC: NDArray[np.uint8], *, quality: int) -> bytes:
    """Encode an RGB frame of shape (H, W, 3), uint8; `quality` in 1..100."""
    import cv2

    ok, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, quality],
    )
    if not ok:
        raise SchemaError(f"frame of shape {frame_HWC.shape} cannot be encoded as JPEG")
    return bytes(encoded)


def decode_jpeg(data: bytes | memoryview, *, shrink: int = 1) -> NDArray[np.uint8]:
    """Decode JPEG bytes to an RGB frame of shape (H, W, 3), uint8.

    ``shrink`` is 1, 2, 4 or 8: both sides are divided by it (rounded up), which the codec
    does while it decodes, at less cost than scaling afterwards.
    """
    import cv2

    if shrink not in (1, 2, 4, 8):
        raise ValueError(f"shrink is {shrink}, the codec can do 1, 2, 4 or 8")
    encoded = np.frombuffer(data, dtype=np.uint8)
    if shrink == 1:
        frame = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    else:  # these flags are BGR and cannot be joined with IMREAD_COLOR_RGB
        frame = cv2.imdecode(encoded, getattr(cv2, f"IMREAD_REDUCED_COLOR_{shrink}"))
        frame = frame if frame is None else cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if frame is None:
        raise SchemaError(f"{len(data)} bytes are not a JPEG image; run `tubelet verify`")
    return frame.astype(np.uint8, copy=False)


def encode_png(image_HWC: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image without loss; `decode_jpeg` reads it as well."""
    import cv2

    ok, encoded = cv2.imencode(".png", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))
    if not ok:
        raise SchemaError(f"image of shape {image_HWC.shape} cannot be encoded as PNG")
    return bytes(encoded)
