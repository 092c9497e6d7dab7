"""How an image becomes the input of a network, and how boxes find their way back."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.parameters import OWN, Parameters

Triple = tuple[float, float, float]


class InputSpec(Parameters):
    """The image that a network expects: ``(pixel - mean) / std`` of a resized frame.

    The defaults are those of YOLOv5 to v11.

    Parameters
    ----------
    height, width : int
        Of the network's image, in pixels.
    colour : {"rgb", "bgr"}
        Order of the channels.
    mean, std : tuple of 3 floats
        A channel each, in that order, in units of 0 to 255.
    resize : {"fit", "corner", "stretch"}
        "fit" keeps the aspect and puts the frame in the middle of bars, "corner" puts it at
        the top left (YOLOX), "stretch" does not keep the aspect.
    bars : int
        Grey value of the bars.
    layout : {"NCHW", "NHWC"}
        Order of the axes.
    dtype : {"float32", "float16", "uint8"}
        "uint8" sends the pixels as they are; `mean` and `std` are then not used.
    """

    origin = OWN

    height: int = Field(640, ge=1)
    width: int = Field(640, ge=1)
    colour: Literal["rgb", "bgr"] = "rgb"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (255.0, 255.0, 255.0)
    resize: Literal["fit", "corner", "stretch"] = "fit"
    bars: int = Field(114, ge=0, le=255)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"

    def prepare(self, image_HWC: NDArray[np.uint8]) -> NDArray[Any]:
        """Batch of one RGB image, (1, 3, height, width) or (1, height, width, 3), `dtype`."""
        pixels_HWC = self.place(image_HWC)
        if self.colour == "bgr":
            pixels_HWC = pixels_HWC[..., ::-1]
        batch_NCHW: NDArray[Any] = pixels_HWC.transpose(2, 0, 1)[None]
        if self.dtype != "uint8":
            scaled_NCHW = np.empty(batch_NCHW.shape, np.float32)
            for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
                plane = scaled_NCHW[0, channel]
                np.subtract(batch_NCHW[0, channel], np.float32(mean), out=plane)
                plane /= np.float32(std)
            batch_NCHW = scaled_NCHW
        if self.layout == "NHWC":
            batch_NCHW = batch_NCHW.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(batch_NCHW, self.dtype)

    def place(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image resized into the network's, (height, width, 3), bars around it."""
        import cv2

        inner_h, inner_w, top, left = self._inner(*image_HWC.shape[:2])
        pixels_HWC = np.full((self.height, self.width, 3), self.bars, np.uint8)
        pixels_HWC[top : top + inner_h, left : left + inner_w] = cv2.resize(
            image_HWC, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR
        )
        return pixels_HWC

    def back(self, box_N4: NDArray[np.float32], *, height: int, width: int) -> NDArray[np.float32]:
        """Boxes of the network's image, (N, 4), in pixels of an image of the given size."""
        inner_h, inner_w, top, left = self._inner(height, width)
        scale_4 = np.array([width / inner_w, height / inner_h] * 2, np.float32)
        return (box_N4 - np.array([left, top] * 2, np.float32)) * scale_4

    def _inner(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Height, width, top and left of the resized image in the network's."""
        if self.resize == "stretch":
            return self.height, self.width, 0, 0
        ratio = min(self.height / height, self.width / width)
        inner_h, inner_w = max(1, round(height * ratio)), max(1, round(width * ratio))
        if self.resize == "corner":
            return inner_h, inner_w, 0, 0
        return inner_h, inner_w, (self.height - inner_h) // 2, (self.width - inner_w) // 2
