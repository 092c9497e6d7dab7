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


def decode_jpeg(data: bytes | memoryview) -> NDArray[np.uint8]:
    """Decode JPEG bytes to an RGB frame of shape (H, W, 3), uint8."""
    import cv2

    frame = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
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
