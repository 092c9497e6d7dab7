"""Any detection network in an ONNX file, described by its input and its head.

For example YOLOv8 with names of COCO::

    --set detect.detector='{"name": "onnx", "model": "yolov8n.onnx",
                            "head": {"style": "yolo", "transposed": true}}'
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from pipeline.input_file import InputFile
from stages.detect.coco_classes import COCO_CLASSES
from stages.detect.head import Head
from stages.detect.heads import AnyHead
from stages.detect.network_input import InputSpec
from stages.detect.onnx_detector import OnnxDetector


class Onnx(OnnxDetector, version=1):
    """An ONNX file of yours.

    Parameters
    ----------
    model : InputFile
        Weights in the file itself: data in files beside it are not in the key.
    head : YoloHead, SsdHead, ListHead, NanoDetHead or CenterNetHead
        What the outputs mean; ``style`` says which: "yolo", "ssd", "list", "nanodet",
        "centernet".
    input : InputSpec
        What the network expects.
    class_names : tuple of str
        In the network's order; by default the 80 of COCO.
    """

    model: InputFile
    head: AnyHead
    input: InputSpec = InputSpec()
    class_names: tuple[str, ...] = Field(COCO_CLASSES, min_length=1)

    def file(self) -> Path:
        return self.model.path

    def spec(self) -> tuple[InputSpec, Head]:
        return self.input, self.head

    def classes(self) -> Sequence[str]:
        return self.class_names
