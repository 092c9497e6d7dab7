"""NanoDet-g, 80 COCO classes: small weights that ship with the package and run offline.

References
----------
RangiLyu/nanodet (Apache-2.0); weights and their source in ``stages/detect/weights``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.detect.detector import Detections, Detector

WEIGHTS = Path(__file__).parents[1] / "weights" / "nanodet_g_416_fp16.onnx"
SIDE = 416
STRIDES = (8, 16, 32)
BINS = 11
_MEAN_BGR = np.array([103.53, 116.28, 123.675], np.float32)
_STD_BGR = np.array([57.375, 57.12, 58.395], np.float32)
_SCORES = ("Identity:0", "Identity_1:0", "Identity_2:0")
_BOXES = ("Identity_3:0", "Identity_4:0", "Identity_5:0")

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


class NanoDet(Detector, version=1):
    """``candidates`` is how many boxes a frame keeps before thresholds and NMS."""

    candidates: int = Field(300, ge=1)

    def classes(self) -> Sequence[str]:
        """The 80 COCO names."""
        return COCO_CLASSES

    @cached_property
    def _network(self) -> Any:
        import cv2

        return cv2.dnn.readNet(str(WEIGHTS))

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Detections of each frame."""
        return [self._detect_one(frame) for frame in frames_THWC]

    def _detect_one(self, frame_HWC: NDArray[np.uint8]) -> Detections:
        import cv2

        height, width = frame_HWC.shape[:2]
        resized = cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        blob = (resized[..., ::-1].astype(np.float32) - _MEAN_BGR) / _STD_BGR
        self._network.setInput(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))
        outputs = dict(
            zip((*_SCORES, *_BOXES), self._network.forward([*_SCORES, *_BOXES]), strict=True)
        )
        scores, boxes = [], []
        for stride, score_name, box_name in zip(STRIDES, _SCORES, _BOXES, strict=True):
            scores.append(outputs[score_name].reshape(-1, len(COCO_CLASSES)))
            boxes.append(decode_boxes(outputs[box_name].reshape(-1, 4 * BINS), stride=stride))
        score_NC, box_N4 = np.concatenate(scores), np.concatenate(boxes)
        best = np.argsort(-score_NC.max(1), kind="stable")[: self.candidates]
        names = [COCO_CLASSES[c] for c in score_NC[best].argmax(1)]
        scale = np.array([width, height, width, height], np.float32) / SIDE
        return Detections((box_N4[best] * scale).astype(np.float32), score_NC[best].max(1), names)


def decode_boxes(distribution_NK: NDArray[np.float32], *, stride: int) -> NDArray[np.float32]:
    """Boxes (N, 4) in network pixels from the distance distributions of one level.

    Each side's distance from the cell's centre is the expectation of a softmax over 11
    bins, in units of the stride (Generalized Focal Loss, Li et al. 2020).
    """
    logits = distribution_NK.reshape(-1, 4, BINS)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    distance_N4 = (weights @ np.arange(BINS, dtype=np.float32)) * stride
    cells = SIDE // stride
    row, column = np.divmod(np.arange(cells * cells), cells)
    centre_N2 = (np.stack([column, row], axis=1) + 0.5) * stride
    return np.concatenate(
        [centre_N2 - distance_N4[:, :2], centre_N2 + distance_N4[:, 2:]], axis=1
    ).astype(np.float32)
