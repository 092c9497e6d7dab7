"""Any box detector of detectron2: a model-zoo config, or a YAML file, and its weights.

detectron2 is not on the package index and needs torchvision; it is asked for when the
detector is constructed. On a GPU results may differ in the last bits between runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from pipeline.input_file import InputFile
from stages.detect.detector import Detections, Detector
from storage_schemas.errors import MissingDependency, ParameterError

# detectron2 compiles against the torch that is installed, hence no build isolation; its
# setup.py needs pkg_resources, which setuptools 81 dropped.
INSTALL = (
    "pip install torchvision 'setuptools<81' wheel && pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git'"
)
_BATCH = 4  # images at a time
_WORDS = ("zoo", "random")


def _file_or_word(value: Any) -> Any:
    return value if value is None or value in _WORDS else InputFile.model_validate(value)


Weights = Annotated[Literal["zoo", "random"] | InputFile | None, BeforeValidator(_file_or_word)]


class Detectron2Zoo(Detector, version=3):
    """A detectron2 model.

    Parameters
    ----------
    config : str
        Model-zoo config, such as ``Misc/cascade_mask_rcnn_R_50_FPN_3x``.
    config_file : InputFile or None
        A YAML file instead. Files that it includes by ``_BASE_`` are not in the key.
    weights : InputFile or {"zoo", "random"}
        A ``.pth`` or ``.pkl`` file; detectron2 unpickles the latter, so use it from people
        you trust only. "zoo" downloads the checkpoint of `config`, "random" is for tests:
        boxes anywhere, of any class, with scores near 1 / classes.
    score_floor : float
        Score below which the model itself drops boxes, before NMS.
    short_side : int or None
        Images are resized to this; None is what the config says, 800 in most.

    Notes
    -----
    The model has an NMS of its own, by default at IoU 0.5. Masks and keypoints are not
    computed: boxes do not depend on them.
    """

    uses_device: ClassVar[bool] = True

    config: str = "COCO-Detection/faster_rcnn_R_50_FPN_1x"
    config_file: InputFile | None = None
    weights: Weights = None
    score_floor: float = Field(0.05, ge=0, le=1)
    short_side: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Detectron2Zoo:
        missing = [n for n in ("detectron2", "torchvision") if not importlib.util.find_spec(n)]
        if missing:
            raise MissingDependency(
                f"detector 'detectron2_zoo' needs {' and '.join(missing)}; install with: {INSTALL}"
            )
        if self.weights is None:
            raise ValueError(
                "detector 'detectron2_zoo' has no weights; set weights=FILE (.pth or .pkl), "
                "weights=zoo to download the checkpoint of the config, or weights=random for tests"
            )
        if self.config_file is not None and self.weights == "zoo":
            raise ValueError(
                f"config_file {self.config_file.path} has no checkpoint in the model zoo; set "
                "weights=FILE"
            )
        return self

    def detect(
        self, images_NHWC: NDArray[np.uint8], *, threads: int = 1, device: str = "auto"
    ) -> list[Detections]:
        """Detections of all images, in batches."""
        import torch

        torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        loaded = _load(self, device)
        found = []
        for start in range(0, len(images_NHWC), _BATCH):
            batch = [loaded.prepare(image) for image in images_NHWC[start : start + _BATCH]]
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

    def prepare(self, image_HWC: NDArray[np.uint8]) -> dict[str, Any]:
        """Input of one RGB image, as detectron2's ``DefaultPredictor`` makes it."""
        import torch

        pixels = np.ascontiguousarray(image_HWC[..., ::-1] if self.bgr else image_HWC)
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(pixels.astype(np.float32).transpose(2, 0, 1))
        return {"image": tensor, "height": image_HWC.shape[0], "width": image_HWC.shape[1]}

    def read(self, output: dict[str, Any]) -> Detections:
        """Boxes of one image, in its own pixels."""
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


@lru_cache(maxsize=2)
def _load(detector: Detectron2Zoo, device: str) -> _Loaded:
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

    name = detector.config.removesuffix(".yaml") + ".yaml"
    file, weights = detector.config_file, detector.weights
    checkpoint = weights.path if isinstance(weights, InputFile) else None
    try:
        merged = file.path if file else model_zoo.get_config_file(name)
        if weights == "zoo":
            checkpoint = model_zoo.get_checkpoint_url(name)
    except RuntimeError as error:
        raise ParameterError(
            f"{name} is no YAML config with a checkpoint in this detectron2's model zoo ({error}); "
            "choose a config that it lists, or set config_file and weights"
        ) from error
    cfg = get_cfg()
    cfg.merge_from_file(str(merged))
    cfg.MODEL.DEVICE = device
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = detector.score_floor
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = detector.score_floor
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":  # a panoptic model needs its masks
        cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    if weights == "random":
        # An untrained network doubles its activations block by block, until all boxes leave
        # the frame; from small inputs they stay near the anchors.
        cfg.MODEL.PIXEL_STD = [1000 * std for std in cfg.MODEL.PIXEL_STD]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same in every process
        model = build_model(cfg).eval()
    if checkpoint is not None:
        config = file.path.name if file else name
        _load_weights(model, DetectionCheckpointer, str(checkpoint), config=config)
    short_side = detector.short_side or cfg.INPUT.MIN_SIZE_TEST
    datasets = cfg.DATASETS.TEST or cfg.DATASETS.TRAIN
    return _Loaded(
        model=model,
        resize=ResizeShortestEdge([short_side] * 2, cfg.INPUT.MAX_SIZE_TEST),
        bgr=cfg.INPUT.FORMAT == "BGR",
        names=list(MetadataCatalog.get(datasets[0]).get("thing_classes", [])) if datasets else [],
    )


def _load_weights(model: Any, checkpointer: Any, checkpoint: str, *, config: str) -> None:
    """Read a checkpoint; what it lacks, detectron2 would leave random with a line in a log."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    checkpointer(model).load(checkpoint)
    lacking = [n for n, one in model.named_parameters() if bool(one.isnan().any())]
    if lacking:
        raise ParameterError(
            f"{checkpoint} lacks {len(lacking)} of {len(list(model.parameters()))} tensors of "
            f"{config}, such as {lacking[0]!r}; give the weights that belong to the config"
        )
