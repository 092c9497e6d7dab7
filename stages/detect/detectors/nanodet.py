"""NanoDet-g, 80 COCO classes: small weights that ship with the package and run offline.

References
----------
RangiLyu/nanodet (Apache-2.0); weights and their source in ``stages/detect/weights``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from stages.detect.coco_classes import COCO_CLASSES
from stages.detect.head import Head
from stages.detect.heads import NanoDetHead
from stages.detect.network_input import InputSpec
from stages.detect.onnx_detector import OnnxDetector

WEIGHTS = Path(__file__).parents[1] / "weights" / "nanodet_g_416_fp16.onnx"
HEAD = NanoDetHead(
    scores_outputs=("Identity:0", "Identity_1:0", "Identity_2:0"),
    boxes_outputs=("Identity_3:0", "Identity_4:0", "Identity_5:0"),
    bins=11,
)


class NanoDet(OnnxDetector, version=3):
    """NanoDet-g.

    Parameters
    ----------
    resize : {"fit", "stretch"}
        How a frame becomes a square of 416 pixels: "fit" keeps its aspect, as the network
        was trained and evaluated (``keep_ratio`` in upstream's config); "stretch" does not.
    """

    resize: Literal["fit", "stretch"] = "fit"

    def file(self) -> Path:
        return WEIGHTS

    def spec(self) -> tuple[InputSpec, Head]:
        entry = InputSpec(
            height=416,
            width=416,
            colour="bgr",
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
            resize=self.resize,
            bars=0,
        )
        return entry, HEAD

    def classes(self) -> Sequence[str]:
        return COCO_CLASSES
