"""Each style of head on tiny arrays whose boxes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from stages.detect.head import Head
from stages.detect.heads import (
    AnchorLevel,
    AnyHead,
    CenterNetHead,
    ListHead,
    NanoDetHead,
    SsdHead,
    YoloHead,
)
from storage_schemas.errors import ParameterError


def array(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


# Two candidates of two classes, centre and size; the network's image is 32 high, 64 wide.
CXCYWH = array([[10, 12, 8, 4], [40, 20, 10, 20]])
XYXY = [[6, 10, 14, 14], [35, 10, 45, 30]]
SCORES = array([[0.75, 0.5], [0.25, 0.5]])
FRACTIONS = array(XYXY) / array([64, 32, 64, 32])
LOGITS = array([[logit(0.75), 0], [logit(0.25), 0]])
WITH_BACKGROUND = array([[0.25, 0.75, 0.5], [0.0, 0.25, 0.5]])


def yolox() -> NDArray[np.float32]:
    """Rows of the 10 cells of strides 16 and 32 on 32 x 64; cells 1 and 9 are the candidates."""
    rows = np.zeros((10, 7), np.float32)
    rows[1] = [10 / 16 - 1, 12 / 16, np.log(8 / 16), np.log(4 / 16), 0.5, 1.5, 1.0]
    rows[9] = [40 / 32 - 1, 20 / 32, np.log(10 / 32), np.log(20 / 32), 0.5, 0.5, 1.0]
    return rows


ONE_CLASS_A_ROW = array([[0.75, 0], [0, 0.5]])
CASES: dict[str, tuple[Head, dict[str, Any], list[int], NDArray[np.float32]]] = {
    "yolo v8": (
        YoloHead(transposed=True),
        {"": np.hstack([CXCYWH, SCORES]).T[None]},
        [0, 1],
        SCORES,
    ),
    "yolo v5": (
        YoloHead(output="o", objectness=True),
        {"o": np.hstack([CXCYWH, array([[0.5], [0.5]]), SCORES * 2])[None]},
        [0, 1],
        SCORES,
    ),
    "yolo, logits and corners in fractions": (
        YoloHead(activation="sigmoid", order="xyxy", units="fractions"),
        {"": np.hstack([FRACTIONS, LOGITS])},
        [0, 1],
        SCORES,
    ),
    "yolox": (YoloHead(objectness=True, strides=(16, 32)), {"": yolox()[None]}, [1, 9], SCORES),
    "ssd, decoded": (
        SsdHead(scores_output="s", boxes_output="b"),
        {"s": WITH_BACKGROUND[None], "b": FRACTIONS[None]},
        [0, 1],
        SCORES,
    ),
    "ssd, background last, softmax": (
        SsdHead(
            scores_output="s", boxes_output="b", background="last", activation="softmax",
            order="cxcywh", units="pixels",
        ),
        {"s": np.log(array([[0.75, 0.5, 1e-9], [0.25, 0.5, 0.25]]))[None], "b": CXCYWH},
        [0, 1],
        array([[0.6, 0.4], [0.25, 0.5]]),
    ),
    "retinanet, sigmoid": (
        SsdHead(
            scores_output="s", boxes_output="b", background="none", activation="sigmoid",
            order="xywh", units="pixels",
        ),
        {"s": LOGITS, "b": array([[6, 10, 8, 4], [35, 10, 10, 20]])},
        [0, 1],
        SCORES,
    ),
    "list": (
        ListHead(
            boxes_output="b", scores_output="s", classes_output="c", order="yxyx",
            units="fractions", first_class=1,
        ),
        {"b": FRACTIONS[None][..., [1, 0, 3, 2]], "s": array([[0.75, 0.5]]), "c": array([[1, 2]])},
        [0, 1],
        ONE_CLASS_A_ROW,
    ),
    "table of YOLOv10": (
        ListHead(columns=("a", "b", "c", "d", "score", "class")),
        {"": np.hstack([array(XYXY), array([[0.75, 0], [0.5, 1]])])[None]},
        [0, 1],
        ONE_CLASS_A_ROW,
    ),
    "table of Caffe": (
        ListHead(
            boxes_output="o", columns=("", "class", "score", "a", "b", "c", "d"),
            units="fractions", first_class=1,
        ),
        {"o": np.hstack([array([[0, 1, 0.75], [0, 2, 0.5]]), FRACTIONS])[None, None]},
        [0, 1],
        ONE_CLASS_A_ROW,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_boxes_and_scores(name: str) -> None:
    head, outputs, rows, expected = CASES[name]
    assert set(head.names()) == set(outputs)
    scores = head.scores(outputs, classes=2)
    np.testing.assert_allclose(scores[rows], expected, atol=1e-6)
    boxes = head.boxes(outputs, np.array(rows), height=32, width=64)
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, XYXY, atol=1e-5)
    last = head.boxes(outputs, np.array(rows[::-1]), height=32, width=64)
    np.testing.assert_allclose(last, XYXY[::-1], atol=1e-5)


def test_anchors_of_ssd() -> None:
    """Cells row by row, in each the sizes in order; offsets scaled by the variances."""
    head = SsdHead(
        scores_output="s",
        boxes_output="b",
        anchors=(
            AnchorLevel(stride=16, sizes=((8, 8), (16, 4))),
            AnchorLevel(stride=32, sizes=((32, 32),)),
        ),
    )
    offsets = np.zeros((1, 8 * 2 + 2, 4), np.float32)
    offsets[0, 11] = [5, -10, np.log(2) / 0.2, 0]  # cell 5 (row 1, column 1), second size
    boxes = head.boxes({"b": offsets}, np.array([0, 1, 11, 17]), height=32, width=64)
    # Centre (24, 24) moves by 5 * .1 * 16 and -10 * .1 * 4; 16 wide becomes 32.
    expected = [[4, 4, 12, 12], [0, 6, 16, 10], [16, 18, 48, 22], [32, 0, 64, 32]]
    np.testing.assert_allclose(boxes, expected, atol=1e-4)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("centre", [0.5, 0.0])
def test_distances_of_nanodet(together: bool, centre: float) -> None:
    strides, bins = (16, 32), 4
    logits = np.full((8 + 2, 4, bins), -50, np.float32)
    logits[:, :, 0] = 50
    logits[5] = -50
    logits[5, :, 2] = 50  # two strides to each side
    logits[9] = -50
    logits[9, :, [1, 2]] = 50  # halfway between one and two
    boxes, scores = logits.reshape(10, -1), np.tile(LOGITS, (5, 1))
    levels: dict[str, Any] = {"s0": scores[:8], "s1": scores[8:], "b0": boxes[:8], "b1": boxes[8:]}
    head = NanoDetHead(
        scores_outputs=("s0", "s1"), boxes_outputs=("b0", "b1"), strides=strides, bins=bins,
        centre=centre, activation="sigmoid",
    )  # fmt: skip
    if together:
        levels = {"": np.hstack([scores, boxes])[None]}
        head = NanoDetHead(strides=strides, bins=bins, centre=centre, activation="sigmoid")
    np.testing.assert_allclose(head.scores(levels, classes=2), np.tile(SCORES, (5, 1)), atol=1e-6)
    found = head.boxes(levels, np.array([5, 9]), height=32, width=64)
    x, y = (24, 24) if centre else (16, 16)  # row 1, column 1
    u, v = (48, 16) if centre else (32, 0)
    np.testing.assert_allclose(
        found, [[x - 32, y - 32, x + 32, y + 32], [u - 48, v - 48, u + 48, v + 48]], atol=1e-4
    )


@pytest.mark.parametrize("units", ["cells", "pixels", "log_cells"])
@pytest.mark.parametrize("order", ["xy", "yx"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_peaks_of_centernet(units: Any, order: Any, channels_last: bool) -> None:
    heat = np.full((1, 2, 8, 16), logit(0.1), np.float32)
    heat[0, 1, 3, 5] = logit(0.9)
    heat[0, 1, 3, 6] = logit(0.8)  # beside the peak: the same object
    heat[0, 0, 0, 15] = logit(0.7)  # a corner counts as well
    size, offset = np.zeros((2, 1, 2, 8, 16), np.float32)
    size[0, :, 3, 5] = (4, 2)
    size[0, :, 0, 15] = (1, 1)
    offset[0, :, 3, 5] = (0.25, 0.75)
    size = {"cells": size, "pixels": 4 * size, "log_cells": np.log(size + 1e-9)}[units]
    outputs = {"h": heat, "s": size, "o": offset}
    if order == "yx":
        outputs = {"h": heat, "s": size[:, ::-1], "o": offset[:, ::-1]}
    if channels_last:
        outputs = {name: one.transpose(0, 2, 3, 1) for name, one in outputs.items()}
    head = CenterNetHead(
        heatmap="h", size="s", offset="o", units=units, order=order, channels_last=channels_last
    )
    scores = head.scores(outputs, classes=2)
    assert scores.shape == (128, 2)
    found = {(int(r), int(c)) for r, c in np.argwhere(scores > 0.5)}
    assert found == {(3 * 16 + 5, 1), (15, 0)}
    assert scores[3 * 16 + 5, 1] == pytest.approx(0.9)
    boxes = head.boxes(outputs, np.array([53, 15]), height=32, width=64)
    # Stride 4: centre ((5.25, 3.75) * 4) = (21, 15), size 16 x 8.
    np.testing.assert_allclose(boxes, [[13, 11, 29, 19], [58, -2, 62, 2]], atol=1e-5)
    shifted = head.model_copy(update={"centre": 0.5})
    boxes = shifted.boxes(outputs, np.array([53, 15]), height=32, width=64)
    np.testing.assert_allclose(boxes, [[15, 13, 31, 21], [60, 0, 64, 4]], atol=1e-5)


ROWS_7 = np.zeros((1, 3, 7), np.float32)


@pytest.mark.parametrize(
    ("head", "outputs", "message"),
    [
        (
            YoloHead(),
            {"": ROWS_7},
            r"'' of shape \(1, 3, 7\) gives rows of 7 numbers, not 4 \+ 0 \+ 2 classes; set "
            "head.objectness, head.transposed or class_names",
        ),
        (YoloHead(), {"": ROWS_7[0, 0]}, r"shape \(7,\) is no table of candidates"),
        (YoloHead(), {"": np.zeros((2, 3, 7), np.float32)}, "is no table of candidates"),
        (
            YoloHead(objectness=True, strides=(16,)),
            {"": ROWS_7},
            r"has 3 rows, but strides \(16,\) give 8 for this input size; set the head's strides",
        ),
        (
            SsdHead(scores_output="s", boxes_output="b"),
            {"s": ROWS_7, "b": ROWS_7},
            r"'s' has 7 columns, not 3 \(2 classes, background 'first'\); set head.background",
        ),
        (
            NanoDetHead(bins=4),
            {"": ROWS_7},
            r"have 7 columns, not 18 for 2 classes and 4 bins; set class_names, head.bins",
        ),
        (
            ListHead(columns=("a", "b", "c", "d", "score", "class")),
            {"": ROWS_7},
            "has 7 columns, head.columns names 6",
        ),
        (
            ListHead(columns=("a", "b", "c", "d", "score", "class", "")),
            {"": ROWS_7 + 2},
            "gives class 2, but class_names has 2 names from 0 on; set class_names or head.first",
        ),
        (
            CenterNetHead(heatmap="h", size="s", offset="o"),
            {"h": np.zeros((1, 8, 16, 2), np.float32)},
            r"'h' of shape \(1, 8, 16, 2\) holds 8 maps for 2 classes; set class_names or head.ch",
        ),
        (
            CenterNetHead(heatmap="h", size="s", offset="o"),
            {"h": ROWS_7},
            "is no batch of maps",
        ),
    ],
)
def test_an_output_of_another_shape_is_told(
    head: Head, outputs: dict[str, Any], message: str
) -> None:
    def read() -> None:
        head.scores(outputs, classes=2)
        head.boxes(outputs, np.array([0]), height=32, width=64)

    with pytest.raises(ParameterError, match=message):
        read()


def test_rows_without_a_class_are_no_candidates() -> None:
    """Padding of a fixed number of rows: class 0 is the background, score 0."""
    head = ListHead(columns=("a", "b", "c", "d", "score", "class"), first_class=1)
    rows = array([[1, 2, 3, 4, 0.9, 1], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1]])
    assert head.scores({"": rows}, classes=2).tolist() == [[array(0.9), 0], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"style": "fcos"}, "does not match any of the expected tags: 'yolo', 'ssd', 'list'"),
        ({"style": "list"}, "name scores_output and classes_output, or the columns of a table"),
        ({"style": "list", "columns": ["a", "b", "score", "class"]}, "must name each of"),
        ({"style": "yolo", "anchors": []}, "Extra inputs are not permitted"),
        ({"style": "ssd", "scores_output": "s"}, "boxes_output"),
    ],
)
def test_a_wrong_spec_is_told(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyHead).validate_python(spec)
