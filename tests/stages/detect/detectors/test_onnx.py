"""Real ONNX files, tiny: their scores are the red and green of blocks of 8 x 8 pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.keys import artifact_key
from stages.detect.detect import Detect
from stages.detect.detectors.onnx import Onnx
from storage_schemas.errors import ParameterError

HIGH, WIDE = 32, 64
ENTRY = {"height": HIGH, "width": WIDE, "bars": 0}
NAMES = ["red", "green"]

row, column = np.divmod(np.arange(4 * 8), 8)
CENTRES = ((np.stack([column, row], axis=1) + 0.5) * 8).astype(np.float32)
SIDES = np.full((32, 2), 8, np.float32)
BOX_BINS = np.full((32, 4, 3), -50, np.float32)  # distances of half a stride: bins 0 and 1
BOX_BINS[..., :2] = 0
PER_CELL = [[0, -1, 2], [0, 2, 1]]  # (1, 2, 4, 8) -> (1, 2, 32) -> (1, 32, 2)

# What follows the two maps of scores, (1, 2, 4, 8), in each style of export.
Build = Callable[[], tuple[list[Any], dict[str, Any], list[str], dict[str, Any]]]


def rows_of_scores() -> tuple[list[Any], dict[str, Any]]:
    nodes = [
        helper.make_node("Reshape", ["maps", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["scores"], perm=[0, 2, 1]),
    ]
    return nodes, {"flat": np.array([1, 2, 32])}


def yolo() -> Any:
    nodes, constants = rows_of_scores()
    nodes.append(helper.make_node("Concat", ["boxes", "scores"], ["table"], axis=2))
    constants["boxes"] = np.hstack([CENTRES, SIDES])[None]
    return nodes, constants, ["table"], {"style": "yolo"}


def ssd() -> Any:
    nodes, constants = rows_of_scores()
    nodes.append(helper.make_node("Identity", ["corners"], ["boxes"]))
    corners = np.hstack([CENTRES - 4, CENTRES + 4]) / np.array([WIDE, HIGH] * 2)
    constants["corners"] = corners[None].astype(np.float32)
    head = {"style": "ssd", "scores_output": "scores", "boxes_output": "boxes"}
    return nodes, constants, ["boxes", "scores"], head | {"background": "none"}


def nanodet() -> Any:
    nodes, constants = rows_of_scores()
    nodes.append(helper.make_node("Concat", ["scores", "bins"], ["table"], axis=2))
    constants["bins"] = BOX_BINS.reshape(1, 32, 12)
    return nodes, constants, ["table"], {"style": "nanodet", "strides": [8], "bins": 3}


def centernet() -> Any:
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in (("one", "size"), ("half", "off"))]
    nodes += [helper.make_node("Identity", ["maps"], [name]) for name in ("heat", "unused")]
    constants = {n: np.full((1, 2, 4, 8), v, np.float32) for n, v in (("one", 1), ("half", 0.5))}
    head = {"style": "centernet", "heatmap": "heat", "size": "size", "offset": "off"}
    return nodes, constants, ["unused", "off", "heat", "size"], head | {"activation": "none"}


STYLES: dict[str, Build] = {f.__name__: f for f in (yolo, ssd, nanodet, centernet)}


def write(path: Path, style: str) -> dict[str, Any]:
    """Write the file of a style; returns its head."""
    nodes, constants, outputs, head = STYLES[style]()
    pool = helper.make_node(
        "AveragePool", ["image"], ["blocks"], kernel_shape=[8, 8], strides=[8, 8]
    )
    first = helper.make_node("Slice", ["blocks", "zero", "two", "axis"], ["maps"])
    constants |= {"zero": np.array([0]), "two": np.array([2]), "axis": np.array([1])}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HIGH, WIDE])
    graph = helper.make_graph(
        [pool, first, *nodes],
        style,
        [image],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)  # OpenCV asks for every shape
    return head


def picture() -> NDArray[np.uint8]:
    """Twice the network's size: red in cell (1, 2), both in (3, 7), green in (0, 0)."""
    image = np.zeros((2 * HIGH, 2 * WIDE, 3), np.uint8)
    colours = {(1, 2): (204, 0, 90), (3, 7): (153, 102, 0), (0, 0): (0, 255, 9)}
    for (y, x), colour in colours.items():
        image[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = colour
    return image


EXPECTED = [
    ([0, 0, 16, 16], 1.0, "green"),
    ([32, 16, 48, 32], 0.8, "red"),
    ([112, 48, 128, 64], 0.6, "red"),
    ([112, 48, 128, 64], 0.4, "green"),
]


@pytest.mark.parametrize("runtime", ["onnxruntime", "opencv"])
@pytest.mark.parametrize("style", STYLES)
def test_every_style_end_to_end(tmp_path: Path, style: str, runtime: Any) -> None:
    head = write(tmp_path / "model.onnx", style)
    detector = Onnx(
        model=tmp_path / "model.onnx", head=head, input=ENTRY, class_names=NAMES,
        runtime=runtime, candidates=4,
    )  # fmt: skip
    images = np.stack([picture(), np.zeros_like(picture())])
    full, blank = detector.detect(images)
    assert list(full.labels) == [label for _, _, label in EXPECTED]
    np.testing.assert_allclose(full.scores, [score for _, score, _ in EXPECTED], atol=1e-5)
    np.testing.assert_allclose(full.xyxy, [box for box, _, _ in EXPECTED], atol=1e-4)
    assert not blank.scores.any()


def test_through_the_stage(tmp_path: Path, make_frames: Any) -> None:
    head = write(tmp_path / "model.onnx", "yolo")
    chosen = {
        "name": "onnx", "model": str(tmp_path / "model.onnx"), "head": head, "input": ENTRY,
        "class_names": NAMES,
    }  # fmt: skip
    stage = Detect(detector=chosen, score_threshold=0.5, classes=("red",), frame_stride=1)
    boxes = stage.process(frames=make_frames(frames=np.stack([picture()] * 2)))
    assert boxes.frame.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(boxes.xyxy[0], [32, 16, 48, 32], atol=1e-4)
    assert Detect.model_validate(stage.model_dump(mode="json")) == stage
    with pytest.raises(ValueError, match="onnx knows no class 'rod'; did you mean 'red'"):
        Detect(detector=chosen, classes=("rod",))


def test_every_parameter_is_in_the_key(tmp_path: Path) -> None:
    head = write(tmp_path / "a.onnx", "yolo")
    write(tmp_path / "b.onnx", "ssd")
    base = {"name": "onnx", "model": str(tmp_path / "a.onnx"), "head": head}
    changes: list[dict[str, Any]] = [
        {},
        {"model": str(tmp_path / "b.onnx")},
        {"head": head | {"transposed": True}},
        {"head": {"style": "nanodet"}},
        {"input": {"mean": [1, 0, 0]}},
        {"input": {"resize": "corner"}},
        {"class_names": ["a"]},
        {"candidates": 9},
        {"runtime": "opencv"},
    ]
    keys = {artifact_key(Detect(detector=base | change), {}) for change in changes}
    assert len(keys) == len(changes)


@pytest.mark.parametrize("runtime", ["onnxruntime", "opencv"])
def test_what_does_not_fit_is_told(tmp_path: Path, runtime: Any) -> None:
    path = tmp_path / f"{runtime}.onnx"
    head = write(path, "ssd")

    def detect(**changes: Any) -> None:
        parameters = {"model": path, "head": head, "input": ENTRY, "class_names": NAMES} | changes
        Onnx(runtime=runtime, **parameters).detect(picture()[None])

    with pytest.raises(ParameterError, match=r"has outputs \['boxes', 'scores'\], not 'probs'; n"):
        detect(head=head | {"scores_output": "probs"})
    with pytest.raises(ParameterError, match=r"has outputs \['boxes', 'scores'\], not ''; name"):
        detect(head={"style": "yolo"})
    with pytest.raises(ParameterError, match="'scores' has 2 columns, not 3"):
        detect(class_names=["a", "b", "c"])
    broken = tmp_path / f"broken_{runtime}.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(
        ParameterError, match=rf"broken_{runtime}.onnx cannot be loaded by {runtime}"
    ):
        detect(model=broken)


def test_a_second_input_is_told(tmp_path: Path) -> None:
    write(tmp_path / "one.onnx", "yolo")
    model = onnx.load(tmp_path / "one.onnx")
    model.graph.input.append(helper.make_tensor_value_info("sizes", TensorProto.INT64, [1, 2]))
    onnx.save(model, tmp_path / "two.onnx")
    detector = Onnx(model=tmp_path / "two.onnx", head={"style": "yolo"}, input=ENTRY)
    with pytest.raises(ParameterError, match=r"2 inputs, \['image', 'sizes'\]; export it with one"):
        detector.detect(picture()[None])


def test_an_input_that_does_not_fit_is_told(tmp_path: Path) -> None:
    head = write(tmp_path / "model.onnx", "yolo")
    small = Onnx(
        model=tmp_path / "model.onnx", head=head, input={"height": 8, "width": 8}, class_names=NAMES
    )
    with pytest.raises(
        ParameterError,
        match=r"(?s)not run on an input of shape \(1, 3, 8, 8\), float32: .*; set in",
    ):
        small.detect(picture()[None])
