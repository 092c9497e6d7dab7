"""The adapter of detectron2.

detectron2 cannot be installed from an index, so most machines see only a stand-in with the
signatures of upstream 0.6 that the adapter uses; it shows what is sent and how the answer
is read. Where the real one is installed it is run as well.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.detect.detect import Detect
from stages.detect.detectors.detectron2_zoo import Detectron2Zoo
from storage_schemas.errors import MissingDependency, ParameterError

REAL = importlib.util.find_spec("detectron2") is not None
STAND_IN = {
    "torchvision/__init__.py": "",
    "detectron2/__init__.py": "calls = []",
    "detectron2/model_zoo.py": """
def get_config_file(config_path): return "zoo:" + config_path
def get_checkpoint_url(config_path): return "https://zoo/" + config_path
""",
    "detectron2/config.py": """
from types import SimpleNamespace as N
class Config(N):
    def merge_from_file(self, name): self.merged = name
def get_cfg():
    return Config(
        MODEL=N(DEVICE="cuda", ROI_HEADS=N(), RETINANET=N()),
        INPUT=N(FORMAT="BGR", MIN_SIZE_TEST=20, MAX_SIZE_TEST=40),
        DATASETS=N(TEST=("coco",), TRAIN=()),
    )
""",
    "detectron2/checkpoint.py": """
from detectron2 import calls
class DetectionCheckpointer:
    def __init__(self, model): self.model = model
    def load(self, path): calls.append(("load", path))
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
        assert image.flags.c_contiguous and self.bounds == ([20, 20], 40)
        return image[::2, ::2]
""",
    "detectron2/modeling.py": """
import torch
from types import SimpleNamespace as N
from detectron2 import calls
class Instances(N):
    def to(self, device): return self
class Model(torch.nn.Module):
    def __init__(self, cfg): super().__init__(); self.cfg = cfg
    def forward(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        calls.append(("batch", batch, self.cfg))
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
    yield tmp_path
    for name in [n for n in sys.modules if n.split(".")[0] in _NAMES]:
        del sys.modules[name]
    sys.modules.update(saved)


_NAMES = ("detectron2", "torchvision")


def calls(kind: str) -> list[Any]:
    return [call[1:] for call in sys.modules["detectron2"].calls if call[0] == kind]


def test_frames_go_in_as_upstream_wants_them(stand_in: Path) -> None:
    detector = Detectron2Zoo(score_floor=0.125)
    frames = np.random.default_rng(0).integers(0, 255, (6, 24, 32, 3), dtype=np.uint8)
    found = detector.detect(frames, video_id="a", frame_indices=range(6))
    sent = [one for batch, _ in calls("batch") for one in batch]
    assert [len(batch) for batch, _ in calls("batch")] == [4, 2]
    for frame, one in zip(frames, sent, strict=True):
        assert (one["height"], one["width"]) == (24, 32)
        expected = frame[::2, ::2, ::-1].transpose(2, 0, 1).astype(np.float32)
        np.testing.assert_array_equal(one["image"].numpy(), expected, strict=True)
    cfg = calls("batch")[0][1]
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.125
    assert cfg.MODEL.RETINANET.SCORE_THRESH_TEST == 0.125
    import torch

    assert ("cuda" if torch.cuda.is_available() else "cpu") == cfg.MODEL.DEVICE
    assert len(found) == 6
    assert found[0].xyxy.tolist() == [[1, 2, 31, 22], [0, 0, 9, 9]]
    assert found[0].scores.tolist() == [np.float32(0.9), np.float32(0.6)]
    assert found[0].labels == ["dog", "class 5"]


def test_config_and_weights(stand_in: Path) -> None:
    frame = np.zeros((1, 8, 8, 3), np.uint8)
    zoo = Detectron2Zoo(config="COCO-Detection/x.yaml")
    for _ in range(2):  # weights are read once
        zoo.detect(frame, video_id="a", frame_indices=[0])
    mine = stand_in / "mine.yaml"
    weights = stand_in / "mine.pth"
    mine.write_text("MODEL: {}")
    weights.write_bytes(b"weights")
    Detectron2Zoo(config_file=mine, weights=weights).detect(frame, video_id="a", frame_indices=[0])
    assert calls("load") == [("https://zoo/COCO-Detection/x.yaml",), (str(weights),)]
    assert [cfg.merged for _, cfg in calls("batch")] == [
        "zoo:COCO-Detection/x.yaml", "zoo:COCO-Detection/x.yaml", str(mine),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"mine\.yaml needs weights of its own"):
        Detectron2Zoo(config_file=mine)


def test_every_parameter_is_in_the_key(stand_in: Path) -> None:
    from pipeline.keys import artifact_key

    files = []
    for name in ("a", "b"):
        files.append(stand_in / name)
        files[-1].write_text(name)
    variants: list[dict[str, Any]] = [
        {},
        {"config": "other.yaml"},
        {"weights": files[0]},
        {"weights": files[1]},
        {"weights": files[0], "config_file": files[0]},
        {"weights": files[0], "config_file": files[1]},
        {"score_floor": 0.1},
    ]
    keys = {artifact_key(Detect(detector={"name": "detectron2_zoo", **v}), {}) for v in variants}
    assert len(keys) == len(variants)


def test_a_model_without_boxes_is_told(stand_in: Path) -> None:
    detector = Detectron2Zoo(config="COCO-PanopticSegmentation/semantic.yaml")
    with pytest.raises(ParameterError, match=r"gives \['sem_seg'\], no instances"):
        detector.detect(np.zeros((1, 8, 8, 3), np.uint8), video_id="a", frame_indices=[0])


def test_a_broken_torchvision_is_told(stand_in: Path) -> None:
    (stand_in / "site/detectron2/modeling.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    detector = Detectron2Zoo(config="broken.yaml")
    with pytest.raises(MissingDependency, match=r"nms does not exist.* the index torch came from"):
        detector.detect(np.zeros((1, 8, 8, 3), np.uint8), video_id="a", frame_indices=[0])


@pytest.mark.skipif(REAL, reason="detectron2 is installed here")
def test_missing_detectron2_is_told_at_construction() -> None:
    with pytest.raises(MissingDependency) as error:
        Detect(detector="detectron2_zoo")
    assert str(error.value).endswith(
        "install with: pip install torchvision 'setuptools<81' wheel && pip install "
        "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
    )


@pytest.mark.skipif(not REAL, reason="detectron2 is not installed here")
def test_real_detectron2_with_random_weights(make_frames: Any, tmp_path: Path) -> None:
    import torch
    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "random.pth")
    chosen = {
        "name": "detectron2_zoo", "score_floor": 0.0, "weights": str(tmp_path / "random.pth"),
    }  # fmt: skip
    stage = Detect(detector=chosen, score_threshold=0.0, frame_stride=6)
    one, two = (stage.process(frames=make_frames()) for _ in range(2))
    assert one.xyxy.shape[1] == 4
    np.testing.assert_array_equal(one.xyxy, two.xyxy)
