"""Any detectron2 model: a model-zoo config, or a YAML file, with a weights file.

detectron2 is not on the package index and needs torchvision; it is asked for when the
detector is constructed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.input_file import InputFile
from stages.detect.detector import Detections, Detector
from storage_schemas.errors import MissingDependency

INSTALL = (
    "pip install torchvision && pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git'"
)


class Detectron2Zoo(Detector, version=1):
    """``config`` names a model-zoo file (``COCO-Detection/...yaml``) or ``config_file`` is given.

    Without ``weights`` the model is random, which is of use in tests only.
    """

    config: str = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
    config_file: InputFile | None = None
    weights: InputFile | None = None
    batch_size: int = Field(4, ge=1)
    score_floor: float = Field(0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _ask_for_detectron2(self) -> Detectron2Zoo:
        missing = [n for n in ("detectron2", "torchvision") if not importlib.util.find_spec(n)]
        if missing:
            raise MissingDependency(
                f"detector 'detectron2_zoo' needs {' and '.join(missing)}; install with: {INSTALL}"
            )
        return self

    @cached_property
    def _loaded(self) -> tuple[Any, Any, list[str]]:
        import torch
        from detectron2 import model_zoo
        from detectron2.checkpoint import DetectionCheckpointer
        from detectron2.config import get_cfg
        from detectron2.data import MetadataCatalog
        from detectron2.modeling import build_model

        cfg = get_cfg()
        path = self.config_file.path if self.config_file else None
        cfg.merge_from_file(str(path or model_zoo.get_config_file(self.config)))
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
        cfg.MODEL.WEIGHTS = str(self.weights.path) if self.weights else ""
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = self.score_floor
        cfg.MODEL.RETINANET.SCORE_THRESH_TEST = self.score_floor
        model = build_model(cfg).eval()
        if cfg.MODEL.WEIGHTS:
            DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        data = cfg.DATASETS.TEST or cfg.DATASETS.TRAIN
        names = list(MetadataCatalog.get(data[0]).get("thing_classes", [])) if data else []
        return model, cfg, names

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Detections of all frames, in batches; on the GPU where there is one."""
        import torch
        from detectron2.data.transforms import ResizeShortestEdge

        model, cfg, names = self._loaded
        resize = ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
        found = []
        for start in range(0, len(frames_THWC), self.batch_size):
            batch = []
            for frame in frames_THWC[start : start + self.batch_size]:
                image = frame[..., ::-1] if cfg.INPUT.FORMAT == "BGR" else frame
                image = resize.get_transform(image).apply_image(np.ascontiguousarray(image))
                tensor = torch.as_tensor(image.astype(np.float32).transpose(2, 0, 1))
                batch.append({"image": tensor, "height": frame.shape[0], "width": frame.shape[1]})
            with torch.inference_mode():
                outputs = model(batch)
            for output in outputs:
                instances = output["instances"].to("cpu")
                classes = instances.pred_classes.tolist()
                found.append(
                    Detections(
                        xyxy=instances.pred_boxes.tensor.numpy().astype(np.float32),
                        scores=instances.scores.numpy().astype(np.float32),
                        labels=[names[c] if c < len(names) else f"class {c}" for c in classes],
                    )
                )
        return found
