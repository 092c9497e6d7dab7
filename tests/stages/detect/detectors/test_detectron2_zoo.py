"""The adapter of detectron2.

detectron2 cannot be installed from an index, so most machines see only a stand-in with the
signatures of upstream 0.6 that the adapter uses; it shows what is sent and how the answer
is read. Where the real one is installed it is run as well, beside upstream's own
``DefaultPredictor``, with random weights: ``pytest -rs tests/stages/detect/detectors``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.keys import artifact_key
from pipeline.stage import Context
from stages.detect.detect import Detect
from stages.detect.detector import Detections
from stages.detect.detectors import detectron2_zoo
from stages.detect.detectors.detectron2_zoo import INSTALL, Detectron2Zoo
from storage_schemas.errors import MissingDependency, ParameterError


def why_not() -> str | None:
    """Why detectron2 cannot be run here; None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a deprecation in upstream is no reason
            importlib.import_module("torchvision")
            importlib.import_module("detectron2.modeling")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


FOUND = importlib.util.find_spec("detectron2") is not None
MISSING = why_not() if FOUND else "it is not installed"
STAND_IN = {
    "torchvision/__init__.py": "",
    "detectron2/__init__.py": "calls = []",
    "detectron2/model_zoo.py": """
def get_config_file(config_path):
    if "typo" in config_path: raise RuntimeError("not available")
    return "zoo:" + config_path
def get_checkpoint_url(config_path):
    if "untrained" in config_path: raise RuntimeError("not available")
    return "https://zoo/" + config_path
""",
    "detectron2/config.py": """
from types import SimpleNamespace as N
class Config(N):
    def merge_from_file(self, name): self.merged = name
def get_cfg():
    return Config(
        MODEL=N(DEVICE="cuda", ROI_HEADS=N(), RETINANET=N(), MASK_ON=True, PIXEL_STD=[1.0, 2.0],
                META_ARCHITECTURE="GeneralizedRCNN"),
        INPUT=N(FORMAT="BGR", MIN_SIZE_TEST=20, MAX_SIZE_TEST=40),
        DATASETS=N(TEST=("coco",), TRAIN=()),
    )
""",
    "detectron2/checkpoint.py": """
from detectron2 import calls
class DetectionCheckpointer:
    def __init__(self, model): self.model = model
    def load(self, path):
        calls.append(("load", path))
        self.model.head.weight.data.zero_()
        if "partial" not in path: self.model.head.bias.data.zero_()
""",
    "detectron2/data/__init__.py": """
class MetadataCatalog:
    @staticmethod
    def get(name): return {"thing_classes": ["person", "dog"]}
""",
    "detectron2/data/transforms.py": """
class ResizeShortestEdge:
    def __init__(self, short_edge_length, max_size): self.bounds = short_edge_length, max_size
    def get_transform(self, image): return self
    def apply_image(self, image):
        assert image.flags.c_contiguous and self.bounds in (([20, 20], 40), ([9, 9], 40))
        return image[::2, ::2]
""",
    "detectron2/modeling.py": """
import torch
from types import SimpleNamespace as N
from detectron2 import calls
class Instances(N):
    def to(self, device): return self
class Model(torch.nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.head = torch.nn.Linear(2, 2)
        self.drawn = torch.rand(()).item()
    def forward(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        calls.append(("batch", batch, self.cfg, self.drawn))
        if self.cfg.merged.endswith("semantic.yaml"):
            return [{"sem_seg": 0} for _ in batch]
        return [{"instances": detected(image["height"], image["width"])} for image in batch]
def detected(height, width):
    boxes = torch.tensor([[1.0, 2, width - 1, height - 2], [0, 0, 9, 9]])
    return Instances(pred_boxes=N(tensor=boxes), scores=torch.tensor([0.9, 0.6]),
                     pred_classes=torch.tensor([1, 5]))
build_model = Model
""",
}


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    """The detector bounds torch's threads in the whole process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in STAND_IN.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    saved = {n: m for n, m in sys.modules.items() if n.split(".")[0] in _NAMES}
    for name in saved:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path / "site")
    detectron2_zoo._load.cache_clear()
    yield tmp_path
    detectron2_zoo._load.cache_clear()
    for name in [n for n in sys.modules if n.split(".")[0] in _NAMES]:
        del sys.modules[name]
    sys.modules.update(saved)


_NAMES = ("detectron2", "torchvision")


def calls(kind: str) -> list[Any]:
    return [call[1:] for call in sys.modules["detectron2"].calls if call[0] == kind]


def pixels(num_frames: int, height: int = 8, width: int = 8) -> Any:
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (num_frames, height, width, 3), dtype=np.uint8)


def test_frames_go_in_as_upstream_wants_them(stand_in: Path) -> None:
    detector = Detectron2Zoo(score_floor=0.125, weights="random")
    images = pixels(6, 24, 32)
    found = detector.detect(images, device="cpu")
    sent = [one for batch, *_ in calls("batch") for one in batch]
    assert [len(batch) for batch, *_ in calls("batch")] == [4, 2]
    for image, one in zip(images, sent, strict=True):
        assert (one["height"], one["width"]) == (24, 32)
        expected = image[::2, ::2, ::-1].transpose(2, 0, 1).astype(np.float32)
        np.testing.assert_array_equal(one["image"].numpy(), expected, strict=True)
    cfg = calls("batch")[0][1]
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.125
    assert cfg.MODEL.RETINANET.SCORE_THRESH_TEST == 0.125
    assert cfg.MODEL.MASK_ON is cfg.MODEL.KEYPOINT_ON is False
    assert len(found) == 6
    assert found[0].xyxy.tolist() == [[1, 2, 31, 22], [0, 0, 9, 9]]
    assert found[0].scores.tolist() == [np.float32(0.9), np.float32(0.6)]
    assert found[0].labels == ["dog", "class 5"]


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "auto"])
def test_the_device_is_that_of_the_context(
    stand_in: Path, make_frames: Any, tmp_path: Path, device: str
) -> None:
    import torch

    stage = Detect(detector=Detectron2Zoo(weights="random"))
    context = Context(work=tmp_path, device=device, threads=2)
    stage.process(frames=make_frames(num_frames=3), ctx=context)
    assert torch.get_num_threads() == 2
    found = "cuda" if torch.cuda.is_available() else "cpu"
    assert (found if device == "auto" else device) == calls("batch")[0][1].MODEL.DEVICE


def test_config_and_weights(stand_in: Path) -> None:
    zoo = Detectron2Zoo(config="COCO-Detection/x", weights="zoo")
    for _ in range(2):  # weights are read once
        zoo.detect(pixels(1))
    mine = stand_in / "mine.yaml"
    weights = stand_in / "mine.pth"
    mine.write_text("MODEL: {}")
    weights.write_bytes(b"weights")
    Detectron2Zoo(config_file=mine, weights=weights).detect(pixels(1))
    assert calls("batch")[0][1].MODEL.PIXEL_STD == [1, 2]
    assert calls("load") == [("https://zoo/COCO-Detection/x.yaml",), (str(weights),)]
    assert [cfg.merged for _, cfg, _ in calls("batch")] == [
        "zoo:COCO-Detection/x.yaml", "zoo:COCO-Detection/x.yaml", str(mine),
    ]  # fmt: skip


def test_random_weights_are_the_same_each_time(stand_in: Path) -> None:
    import torch

    for short_side in (None, 9):  # not one cached model
        torch.rand(3)
        Detectron2Zoo(weights="random", short_side=short_side).detect(pixels(1))
    (_, _, one), (_, _, two) = calls("batch")
    assert one == two
    assert calls("load") == []
    assert calls("batch")[0][1].MODEL.PIXEL_STD == [1000, 2000]


def test_weights_of_another_config_are_told(stand_in: Path) -> None:
    """Upstream only logs what a checkpoint lacks, and leaves it random."""
    weights = stand_in / "partial.pth"
    weights.write_bytes(b"weights")
    detector = Detectron2Zoo(config="x", weights=weights)
    with pytest.raises(ParameterError, match=r"partial\.pth lacks 1 of 2 tensors of x\.yaml, "):
        detector.detect(pixels(1))


@pytest.mark.parametrize("config", ["typo", "untrained", "new_baselines/typo.py"])
def test_an_unknown_config_is_told(stand_in: Path, config: str) -> None:
    with pytest.raises(ParameterError, match=rf"{config}\.yaml is no YAML config with a checkp"):
        Detectron2Zoo(config=config, weights="zoo").detect(pixels(1))


def test_missing_weights_are_told(stand_in: Path) -> None:
    with pytest.raises(ValueError, match=r"has no weights; set weights=FILE \(.*\), weights=zoo "):
        Detect(detector="detectron2_zoo")
    with pytest.raises(ValueError, match=r"model\.pth is no file; give the path of one"):
        Detectron2Zoo(weights="model.pth")
    mine = stand_in / "mine.yaml"
    mine.write_text("MODEL: {}")
    with pytest.raises(ValueError, match=r"mine\.yaml has no checkpoint in the model zoo; set we"):
        Detectron2Zoo(config_file=mine, weights="zoo")


def test_every_parameter_is_in_the_key(stand_in: Path) -> None:
    files = []
    for name in ("a", "b"):
        files.append(str(stand_in / name))
        Path(files[-1]).write_text(name)
    variants: list[dict[str, Any]] = [
        {"weights": "zoo"},
        {"weights": "zoo", "config": "other.yaml"},
        {"weights": "random"},
        {"weights": files[0]},
        {"weights": files[1]},
        {"weights": files[0], "config_file": files[0]},
        {"weights": files[0], "config_file": files[1]},
        {"weights": "zoo", "score_floor": 0.1},
        {"weights": "zoo", "short_side": 400},
    ]
    stages = [Detect(detector={"name": "detectron2_zoo", **one}) for one in variants]
    assert len({artifact_key(stage, {}) for stage in stages}) == len(variants)
    for stage in stages:  # as a child process gets it
        assert Detect.model_validate(stage.model_dump(mode="json")) == stage


def test_a_model_without_boxes_is_told(stand_in: Path) -> None:
    detector = Detectron2Zoo(config="COCO-PanopticSegmentation/semantic", weights="random")
    with pytest.raises(ParameterError, match=r"gives \['sem_seg'\], no instances"):
        detector.detect(pixels(1))


def test_a_broken_torchvision_is_told(stand_in: Path) -> None:
    (stand_in / "site/detectron2/modeling.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    with pytest.raises(MissingDependency, match=r"nms does not exist.* the index torch came from"):
        Detectron2Zoo(config="broken.yaml", weights="random").detect(pixels(1))


@pytest.mark.skipif(FOUND, reason="detectron2 is installed here")
def test_missing_detectron2_is_told_at_construction() -> None:
    with pytest.raises(MissingDependency) as error:
        Detect(detector="detectron2_zoo")
    assert str(error.value).endswith(
        "install with: pip install torchvision 'setuptools<81' wheel && pip install "
        "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
    )


real = [
    pytest.mark.skipif(
        MISSING is not None,
        reason=f"THE ADAPTER IS NOT RUN AGAINST detectron2: {MISSING}; install with: {INSTALL}",
    ),
    pytest.mark.filterwarnings("ignore"),  # upstream's own
]
CONFIGS = ("COCO-Detection/faster_rcnn_R_50_FPN_1x", "Misc/cascade_mask_rcnn_R_50_FPN_3x")
SIZE = (96, 150)


def noise_with_shapes(num_frames: int) -> Any:
    """Frames of `SIZE`, no two alike, so that a frame's boxes are its own."""
    rng = np.random.default_rng(1)
    frames = rng.integers(60, 120, (num_frames, *SIZE, 3), dtype=np.uint8)
    for t in range(num_frames):
        frames[t, 20:70, 10 + 20 * t : 50 + 20 * t] = rng.integers(0, 255, 3)
    return frames


def random_detector(config: str, **more: Any) -> Detectron2Zoo:
    return Detectron2Zoo(
        **{"config": config, "weights": "random", "score_floor": 0.0, "short_side": 160} | more
    )


def matched(one: Detections, two: Detections) -> float:
    """Part of the boxes of `one` that `two` has as well: class, score and place."""
    pairs = 0
    for box, score, label in zip(one.xyxy, one.scores, one.labels, strict=True):
        near = (np.abs(two.xyxy - box).max(axis=1) < 0.5) & (np.abs(two.scores - score) < 1e-4)
        pairs += any(two.labels[i] == label for i in np.flatnonzero(near))
    return pairs / max(1, len(one.scores))


@pytest.mark.parametrize("config", CONFIGS)
class TestReal:
    """Sums of thousands of products differ in the last bits: nearly all boxes must agree."""

    pytestmark = real

    def test_boxes_are_those_of_upstreams_predictor(self, config: str, tmp_path: Path) -> None:
        import torch
        from detectron2 import model_zoo
        from detectron2.config import get_cfg
        from detectron2.engine import DefaultPredictor
        from detectron2.modeling import build_model

        cfg = get_cfg()
        cfg.merge_from_file(model_zoo.get_config_file(f"{config}.yaml"))
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
        cfg.INPUT.MIN_SIZE_TEST = 160
        cfg.MODEL.PIXEL_STD = [1000.0] * 3  # of an untrained network all boxes would leave
        (tmp_path / "config.yaml").write_text(cfg.dump())
        cfg.MODEL.WEIGHTS = str(tmp_path / "random.pth")
        torch.manual_seed(3)
        torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
        predictor = DefaultPredictor(cfg)
        frames = noise_with_shapes(2)
        detector = random_detector(
            config, weights=cfg.MODEL.WEIGHTS, config_file=tmp_path / "config.yaml"
        )
        ours = detector.detect(frames, device="cpu")
        for frame, found in zip(frames, ours, strict=True):
            upstream = predictor(np.ascontiguousarray(frame[..., ::-1]))["instances"]
            names = predictor.metadata.thing_classes
            expected = Detections(
                upstream.pred_boxes.tensor.numpy(),
                upstream.scores.numpy(),
                [names[c] for c in upstream.pred_classes.tolist()],
            )
            assert len(expected.scores) > 0, "no boxes from these weights: change the seed"
            assert len(found.scores) == pytest.approx(len(expected.scores), rel=0.1)
            assert matched(found, expected) > 0.9
            assert matched(expected, found) > 0.9

    def test_boxes_are_half_open_pixels_of_the_stored_frame(self, config: str) -> None:
        height, width = SIZE
        found = random_detector(config).detect(noise_with_shapes(2), device="cpu")
        assert len(found) == 2
        xyxy = np.concatenate([one.xyxy for one in found])
        assert xyxy.dtype == found[0].scores.dtype == np.float32
        assert xyxy.shape == (sum(len(one.labels) for one in found), 4)
        assert len(xyxy) > 0, "no boxes from these weights: change the seed"
        assert (xyxy[:, :2] < xyxy[:, 2:]).all()
        assert (xyxy >= 0).all()
        assert xyxy[:, 2].max() <= width
        assert xyxy[:, 3].max() <= height
        # Of a resized frame, 160 x 250, boxes would leave this one; that they use all of it
        # tells the scale.
        assert xyxy[:, 2].max() > 0.6 * width

    def test_a_batch_is_its_frames_one_by_one(self, config: str) -> None:
        frames = noise_with_shapes(3)
        detector = random_detector(config)
        together = detector.detect(frames, device="cpu")
        for frame, found in zip(frames, together, strict=True):
            alone = detector.detect(frame[None], device="cpu")[0]
            assert len(found.scores) == pytest.approx(len(alone.scores), rel=0.1)
            assert matched(found, alone) > 0.9
            assert matched(alone, found) > 0.9

    def test_class_filter_and_determinism_through_the_stage(
        self, config: str, make_frames: Any
    ) -> None:
        frames = make_frames(frames=noise_with_shapes(2))
        rules: dict[str, Any] = {
            "detector": random_detector(config), "score_threshold": 0, "frame_stride": 1,
            "nms_iou": 1, "max_boxes": 500,
        }  # fmt: skip
        everything = Detect(**rules).process(frames=frames)
        again = Detect(**rules).process(frames=frames)
        np.testing.assert_array_equal(everything.xyxy, again.xyxy)
        labels = np.array(everything.label)
        chosen = labels[0]
        some = Detect(**rules, classes=(chosen,)).process(frames=frames)
        assert set(some.label or ()) == {chosen}
        np.testing.assert_array_equal(some.xyxy, everything.xyxy[labels == chosen])
