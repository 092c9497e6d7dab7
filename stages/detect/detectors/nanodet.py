"""NanoDet-g, 80 COCO classes: small weights that ship with the package and run offline.

Shapes: N cells of all levels (or the chosen ones), C classes.

References
----------
RangiLyu/nanodet (Apache-2.0); weights and their source in ``stages/detect/weights``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stages.detect.detector import Detections, Detector
from storage_schemas.errors import MissingDependency

WEIGHTS = Path(__file__).parents[1] / "weights" / "nanodet_g_416_fp16.onnx"
SIDE = 416
STRIDES = (8, 16, 32)
BINS = 11
_INPUT = "input_1:0"
_SCORES = ("Identity:0", "Identity_1:0", "Identity_2:0")
_BOXES = ("Identity_3:0", "Identity_4:0", "Identity_5:0")
_MEAN_BGR = np.array([103.53, 116.28, 123.675], np.float32)
_STD_BGR = np.array([57.375, 57.12, 58.395], np.float32)

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

Runtime = Literal["opencv", "onnxruntime"]
Network = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class NanoDet(Detector, version=2):
    """NanoDet-g.

    Parameters
    ----------
    resize : {"fit", "stretch"}
        How a frame becomes a square of 416 pixels: "fit" keeps its aspect and pads,
        "stretch" does not. People are found better by "fit" (person AP50 on TUD-Campus
        and TUD-Stadtmitte .78 and .84, against .65 and .77), in wide frames by far; some
        animals are found better by "stretch".
    candidates : int
        Boxes a frame keeps before thresholds and NMS.
    runtime : {"opencv", "onnxruntime"}
        "onnxruntime" is twice as fast and needs a further package; scores differ in the
        fifth decimal place.

    Notes
    -----
    Each cell gives a box of its best class only; the original may give several.
    """

    resize: Literal["fit", "stretch"] = "fit"
    candidates: int = Field(300, ge=1)
    runtime: Runtime = "opencv"

    @model_validator(mode="after")
    def _ask_for_onnxruntime(self) -> NanoDet:
        if self.runtime == "onnxruntime" and importlib.util.find_spec("onnxruntime") is None:
            raise MissingDependency(
                "detector 'nanodet' with runtime 'onnxruntime' needs onnxruntime; install "
                "with: pip install onnxruntime"
            )
        return self

    def classes(self) -> Sequence[str]:
        """The 80 COCO names."""
        return COCO_CLASSES

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Detections of each frame."""
        return [self._detect_one(frame) for frame in frames_THWC]

    def _detect_one(self, frame_HWC: NDArray[np.uint8]) -> Detections:
        square_HWC, scale_4, shift_4 = to_square(frame_HWC, fit=self.resize == "fit")
        blob_HWC = (square_HWC[..., ::-1] - _MEAN_BGR) / _STD_BGR
        network = _load_network(self.runtime)
        score_NC, distance_NK = network(np.ascontiguousarray(blob_HWC.transpose(2, 0, 1)[None]))
        score_N = score_NC.max(axis=1)
        best = np.argsort(-score_N, kind="stable")[: self.candidates]
        centre_N2, stride_N1 = _cells()
        box_N4 = decode_boxes(distance_NK[best], centre_N2[best], stride_N1[best])
        return Detections(
            xyxy=((box_N4 - shift_4) / scale_4).astype(np.float32),
            scores=score_N[best],
            labels=[COCO_CLASSES[c] for c in score_NC[best].argmax(axis=1)],
        )


def to_square(
    frame_HWC: NDArray[np.uint8], *, fit: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Resize a frame to the network's square, black bars where it does not fill it.

    Returns
    -------
    square_HWC : ndarray of shape (416, 416, 3), uint8
    scale_4, shift_4 : ndarray of shape (4,), float32
        A box of the square is ``frame_box * scale_4 + shift_4``, corners ``xyxy``.
    """
    import cv2

    height, width = frame_HWC.shape[:2]
    longest = max(height, width)
    inner_h = max(1, round(SIDE * height / longest)) if fit else SIDE
    inner_w = max(1, round(SIDE * width / longest)) if fit else SIDE
    top, left = (SIDE - inner_h) // 2, (SIDE - inner_w) // 2
    square_HWC = np.zeros((SIDE, SIDE, 3), np.uint8)
    square_HWC[top : top + inner_h, left : left + inner_w] = cv2.resize(
        frame_HWC, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR
    )
    scale_4 = np.array([inner_w / width, inner_h / height] * 2, np.float32)
    return square_HWC, scale_4, np.array([left, top] * 2, np.float32)


def decode_boxes(
    distance_NK: NDArray[np.float32],
    centre_N2: NDArray[np.float32],
    stride_N1: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Boxes (N, 4) in network pixels from distributions of their sides' distances.

    A distance from the cell's centre is the expectation of a softmax over 11 bins, in
    units of the stride (Generalized Focal Loss, Li et al. 2020).
    """
    logits = distance_NK.reshape(-1, 4, BINS)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    distance_N4 = (weights @ np.arange(BINS, dtype=np.float32)) * stride_N1
    return np.concatenate(
        [centre_N2 - distance_N4[:, :2], centre_N2 + distance_N4[:, 2:]], axis=1
    ).astype(np.float32)


@cache
def _cells() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres (N, 2) and strides (N, 1) of the cells of all levels, in network pixels."""
    centres, strides = [], []
    for stride in STRIDES:
        row, column = np.divmod(np.arange((SIDE // stride) ** 2), SIDE // stride)
        centres.append((np.stack([column, row], axis=1) + 0.5) * stride)
        strides.append(np.full((len(row), 1), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)


@cache
def _load_network(runtime: Runtime) -> Network:
    """The network, once a process: image (1, 3, 416, 416) -> scores (N, C), distances (N, 44)."""
    names = [*_SCORES, *_BOXES]
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(WEIGHTS, providers=["CPUExecutionProvider"])

        def forward(image: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
            return session.run(names, {_INPUT: image})
    else:
        import cv2

        net = cv2.dnn.readNetFromONNX(str(WEIGHTS))

        def forward(image: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
            net.setInput(image)
            return net.forward(names)

    def network(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = forward(image)
        score_NC = np.concatenate([o.reshape(-1, len(COCO_CLASSES)) for o in outputs[:3]])
        return score_NC, np.concatenate([o.reshape(-1, 4 * BINS) for o in outputs[3:]])

    return network
