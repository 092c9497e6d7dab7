"""Any box detector of detectron2: a model-zoo config, or a YAML file, and its weights.

detectron2 is not on the package index and needs torchvision; it is asked for when the
detector is constructed. On a GPU results may differ in the last bits between runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.input_file import InputFile
from stages.detect.detector import Detections, Detector
from storage_schemas.errors import MissingDependency, ParameterError

# detectron2 compiles against the torch that is installed, hence no build isolation; its
# setup.py needs pkg_resources, which setuptools 81 dropped.
INSTALL = (
    "pip install torchvision 'setuptools<81' wheel && pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git'"
)
_BATCH = 4  # frames at a time


class Detectron2Zoo(Detector, version=2):
    """A detectron2 model.

    Parameters
    ----------
    config : str
        Model-zoo config, such as ``COCO-Detection/retinanet_R_50_FPN_3x.yaml``.
    config_file : InputFile or None
        A YAML file instead. Files that it includes by ``_BASE_`` are not in the key.
    weights : InputFile or None
        ``.pth`` or ``.pkl``; detectron2 unpickles the latter, so use it from people you
        trust only. None downloads the model-zoo weights of `config`.
    score_floor : float
        Score below which the model itself drops boxes, before NMS.

    Notes
    -----
    The model has an NMS of its own, by default at IoU 0.5.
    """

    config: str = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
    config_file: InputFile | None = None
    weights: InputFile | None = None
    score_floor: float = Field(0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> Detectron2Zoo:
        missing = [n for n in ("detectron2", "torchvision") if not importlib.util.find_spec(n)]
        if missing:
            raise MissingDependency(
                f"detector 'detectron2_zoo' needs {' and '.join(missing)}; install with: {INSTALL}"
            )
        if self.config_file is not None and self.weights is None:
            raise ValueError(
                f"config_file {self.config_file.path} needs weights of its own; give weights=FILE"
            )
        return self

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Detections of all frames, in batches; on the GPU where there is one."""
        import torch

        loaded = _load(self)
        found = []
        for start in range(0, len(frames_THWC), _BATCH):
            batch = [loaded.prepare(f) for f in frames_THWC[start : start + _BATCH]]
            with torch.no_grad():
                found += [loaded.read(output) for output in loaded.model(batch)]
        return found


@dataclass(frozen=True)
class _Loaded:
    """A model, and how its inputs and outputs look."""

    model: Any
    resize: Any
    bgr: bool
    names: Sequence[str]

    def prepare(self, frame_HWC: NDArray[np.uint8]) -> dict[str, Any]:
        """Input of one RGB frame, as detectron2's ``DefaultPredictor`` makes it."""
        import torch

        image = np.ascontiguousarray(frame_HWC[..., ::-1] if self.bgr else frame_HWC)
        image = self.resize.get_transform(image).apply_image(image)
        tensor = torch.as_tensor(image.astype(np.float32).transpose(2, 0, 1))
        return {"image": tensor, "height": frame_HWC.shape[0], "width": frame_HWC.shape[1]}

    def read(self, output: dict[str, Any]) -> Detections:
        """Boxes of one frame, in its own pixels."""
        if "instances" not in output:
            raise ParameterError(
                f"the detectron2 model gives {sorted(output)}, no instances; choose a config "
                "that detects boxes, such as COCO-Detection/*"
            )
        instances = output["instances"].to("cpu")
        return Detections(
            xyxy=instances.pred_boxes.tensor.numpy().astype(np.float32),
            scores=instances.scores.numpy().astype(np.float32),
            labels=[
                self.names[c] if c < len(self.names) else f"class {c}"
                for c in instances.pred_classes.tolist()
            ],
        )


@cache
def _load(detector: Detectron2Zoo) -> _Loaded:
    """Build the model and read its weights, once a process."""
    try:
        import torch
        from detectron2 import model_zoo
        from detectron2.checkpoint import DetectionCheckpointer
        from detectron2.config import get_cfg
        from detectron2.data import MetadataCatalog
        from detectron2.data.transforms import ResizeShortestEdge
        from detectron2.modeling import build_model
    except (ImportError, OSError, RuntimeError) as error:
        # Found, but not loadable: most often torchvision of another torch or index.
        raise MissingDependency(
            f"detectron2 or torchvision does not load beside this torch ({error}); "
            f"install both anew, from the index torch came from: {INSTALL}"
        ) from error

    cfg = get_cfg()
    file = detector.config_file
    cfg.merge_from_file(str(file.path) if file else model_zoo.get_config_file(detector.config))
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = detector.score_floor
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = detector.score_floor
    model = build_model(cfg).eval()
    weights = detector.weights
    DetectionCheckpointer(model).load(
        str(weights.path) if weights else model_zoo.get_checkpoint_url(detector.config)
    )
    datasets = cfg.DATASETS.TEST or cfg.DATASETS.TRAIN
    return _Loaded(
        model=model,
        resize=ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST),
        bgr=cfg.INPUT.FORMAT == "BGR",
        names=list(MetadataCatalog.get(datasets[0]).get("thing_classes", [])) if datasets else [],
    )
