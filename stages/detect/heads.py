"""What the outputs of a detection network mean: one small typed spec a style.

Shapes: N candidates of all levels, C classes, K chosen candidates. Boxes are ``xyxy`` in
pixels of the network's image.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.detect.head import (
    Activation,
    Array,
    BoxFormatHead,
    Head,
    Outputs,
    Rows,
    activated,
    cells,
    check_rows,
    rows_of,
    stacked,
)
from storage_schemas.errors import ParameterError


class YoloHead(BoxFormatHead):
    """A row a candidate: box, perhaps the score of any object, scores of the classes.

    YOLOv5 and v7: ``objectness=True``. YOLOv8, v9 and v11: ``transposed=True``. YOLOX:
    ``objectness=True, strides=(8, 16, 32)`` and an input of ``colour="bgr", std=(1, 1, 1),
    resize="corner"``. Exports with NMS inside are a `ListHead`.

    Parameters
    ----------
    output : str
    objectness : bool
        The fifth number says whether there is any object; class scores are multiplied by it.
    transposed : bool
        The output is (1, numbers, N) instead of (1, N, numbers).
    strides : tuple of int
        Boxes are relative to cells of these strides, sizes logarithms; empty if decoded.
    activation : {"none", "sigmoid"}
        What is still to be applied to the scores.
    """

    style: Literal["yolo"] = "yolo"
    output: str = ""
    objectness: bool = False
    transposed: bool = False
    strides: tuple[int, ...] = ()
    activation: Literal["none", "sigmoid"] = "none"
    order: Literal["xyxy", "yxyx", "xywh", "cxcywh"] = "cxcywh"

    def names(self) -> tuple[str, ...]:
        return (self.output,)

    def scores(self, outputs: Outputs, *, classes: int) -> Array:
        table = self._table(outputs)
        first = 4 + self.objectness
        if table.shape[1] != first + classes:
            raise ParameterError(
                f"output {self.output!r} of shape {outputs[self.output].shape} gives rows of "
                f"{table.shape[1]} numbers, not 4 + {int(self.objectness)} + {classes} classes; "
                "set head.objectness, head.transposed or class_names"
            )
        found = activated(table[:, first:], self.activation)
        return found * activated(table[:, 4:5], self.activation) if self.objectness else found

    def boxes(self, outputs: Outputs, rows: Rows, *, height: int, width: int) -> Array:
        box_K4 = self._table(outputs)[rows, :4]
        if self.strides:
            centre_N2, stride_N1 = cells(self.strides, height=height, width=width, offset=0.0)
            check_rows(self._table(outputs), len(centre_N2), self.output, self.strides)
            centre_K2 = box_K4[:, :2] * stride_N1[rows] + centre_N2[rows]
            box_K4 = np.concatenate([centre_K2, np.exp(box_K4[:, 2:]) * stride_N1[rows]], axis=1)
        return self._corners(box_K4, height=height, width=width)

    def _table(self, outputs: Outputs) -> Array:
        table = rows_of(outputs[self.output], self.output)
        return table.T if self.transposed else table


class AnchorLevel(BaseModel):
    """Prior boxes of one level: in each cell, row by row, the same sizes.

    Parameters
    ----------
    stride : int
        Pixels between cells; the grid covers the network's image.
    sizes : tuple of (width, height)
        In pixels of the network's image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stride: int = Field(ge=1)
    sizes: tuple[tuple[float, float], ...] = Field(min_length=1)


class SsdHead(BoxFormatHead):
    """A box and scores of the classes a candidate, in two outputs: SSD, RetinaNet, DETR.

    Parameters
    ----------
    scores_output, boxes_output : str
        (1, N, C) with or without the background, and (1, N, 4).
    activation : {"none", "sigmoid", "softmax"}
        What is still to be applied to the scores.
    background : {"first", "last", "none"}
        Column that is no class.
    anchors : tuple of AnchorLevel
        Boxes are offsets from these; empty if they are decoded, as `order` and `units` say.
    variances : tuple of 2 floats
        Scales of the offsets of centre and size.

    References
    ----------
    Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016.
    """

    style: Literal["ssd"] = "ssd"
    scores_output: str
    boxes_output: str
    activation: Activation = "none"
    background: Literal["first", "last", "none"] = "first"
    anchors: tuple[AnchorLevel, ...] = ()
    variances: tuple[float, float] = (0.1, 0.2)
    units: Literal["pixels", "fractions"] = "fractions"

    def names(self) -> tuple[str, ...]:
        return self.scores_output, self.boxes_output

    def scores(self, outputs: Outputs, *, classes: int) -> Array:
        table = rows_of(outputs[self.scores_output], self.scores_output)
        columns = classes + (self.background != "none")
        if table.shape[1] != columns:
            raise ParameterError(
                f"output {self.scores_output!r} has {table.shape[1]} columns, not {columns} "
                f"({classes} classes, background {self.background!r}); set head.background or "
                "class_names"
            )
        first = int(self.background == "first")
        return activated(table, self.activation)[:, first : first + classes]

    def boxes(self, outputs: Outputs, rows: Rows, *, height: int, width: int) -> Array:
        table = rows_of(outputs[self.boxes_output], self.boxes_output)
        if not self.anchors:
            return self._corners(table[rows], height=height, width=width)
        anchor_N4 = self._anchors(height, width)
        check_rows(table, len(anchor_N4), self.boxes_output, [a.stride for a in self.anchors])
        offset, anchor = table[rows], anchor_N4[rows]
        centre = anchor[:, :2] + offset[:, :2] * self.variances[0] * anchor[:, 2:]
        half = anchor[:, 2:] * np.exp(offset[:, 2:] * self.variances[1]) / 2
        return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)

    def _anchors(self, height: int, width: int) -> Array:
        """Centre and size (N, 4) of every anchor, in pixels."""
        found = []
        for level in self.anchors:
            centre, _ = cells((level.stride,), height=height, width=width)
            size = np.asarray(level.sizes, np.float32)
            rows = [np.repeat(centre, len(size), axis=0), np.tile(size, (len(centre), 1))]
            found.append(np.concatenate(rows, axis=1))
        return np.concatenate(found)


class ListHead(BoxFormatHead):
    """Finished detections, NMS inside the network: as three outputs, or as one table.

    Parameters
    ----------
    boxes_output, scores_output, classes_output : str
        (1, N, 4), (1, N) and (1, N).
    columns : tuple of str
        With names, `boxes_output` is a table that holds all: "a", "b", "c", "d" are the four
        numbers of the box in the order of `order`, "score", "class", and "" is not read.
        YOLOv10: ``("a", "b", "c", "d", "score", "class")``. Caffe's SSD:
        ``("", "class", "score", "a", "b", "c", "d")``.
    first_class : int
        Number of the first class; 1 where 0 is the background.
    """

    style: Literal["list"] = "list"
    boxes_output: str = ""
    scores_output: str = ""
    classes_output: str = ""
    columns: tuple[Literal["a", "b", "c", "d", "score", "class", ""], ...] = ()
    first_class: int = 0

    @model_validator(mode="after")
    def _check(self) -> ListHead:
        needed = ["a", "b", "c", "class", "d", "score"]
        if self.columns and sorted(filter(None, self.columns)) != needed:
            raise ValueError(f"head.columns {self.columns} must name each of {needed} once")
        if not self.columns and not (self.scores_output and self.classes_output):
            raise ValueError("name scores_output and classes_output, or the columns of a table")
        return self

    def names(self) -> tuple[str, ...]:
        if self.columns:
            return (self.boxes_output,)
        return self.boxes_output, self.scores_output, self.classes_output

    def scores(self, outputs: Outputs, *, classes: int) -> Array:
        if self.columns:
            table = self._table(outputs)
            score_N, number_N = (table[:, self.columns.index(n)] for n in ("score", "class"))
        else:
            score_N, number_N = (
                outputs[n].reshape(-1) for n in (self.scores_output, self.classes_output)
            )
        score_NC = np.zeros((len(score_N), classes), np.float32)
        class_N = np.rint(number_N).astype(int) - self.first_class
        named = np.flatnonzero((class_N >= 0) & (class_N < classes))
        wrong = class_N[(class_N >= classes) & (score_N > 0)]
        if len(wrong):
            raise ParameterError(
                f"the network gives class {int(wrong[0]) + self.first_class}, but class_names "
                f"has {classes} names from {self.first_class} on; set class_names or "
                "head.first_class"
            )
        score_NC[named, class_N[named]] = score_N[named]
        return score_NC

    def boxes(self, outputs: Outputs, rows: Rows, *, height: int, width: int) -> Array:
        if self.columns:
            table = self._table(outputs)[:, [self.columns.index(n) for n in ("a", "b", "c", "d")]]
        else:
            table = rows_of(outputs[self.boxes_output], self.boxes_output)
        return self._corners(table[rows], height=height, width=width)

    def _table(self, outputs: Outputs) -> Array:
        table = rows_of(outputs[self.boxes_output], self.boxes_output)
        if table.shape[1] != len(self.columns):
            raise ParameterError(
                f"output {self.boxes_output!r} has {table.shape[1]} columns, head.columns names "
                f"{len(self.columns)}"
            )
        return table


class NanoDetHead(Head):
    """Cells of several levels give class scores and distributions of four distances.

    A distance from the cell's centre to a side is the expectation of a softmax over bins,
    in units of the stride. NanoDet-Plus: ``bins=8, centre=0, strides=(8, 16, 32, 64)`` and
    one output.

    Parameters
    ----------
    scores_outputs, boxes_outputs : tuple of str
        A level each, or one for all levels; without `boxes_outputs` a row holds both.
    strides : tuple of int
    bins : int
        Of a distribution.
    centre : float
        Place of a cell's centre in it, 0.5 or 0.
    activation : {"none", "sigmoid"}
        What is still to be applied to the scores.

    References
    ----------
    Li et al., Generalized Focal Loss, NeurIPS 2020; RangiLyu/nanodet.
    """

    style: Literal["nanodet"] = "nanodet"
    scores_outputs: tuple[str, ...] = ("",)
    boxes_outputs: tuple[str, ...] = ()
    strides: tuple[int, ...] = (8, 16, 32)
    bins: int = Field(8, ge=2)
    centre: float = Field(0.5, ge=0, le=1)
    activation: Literal["none", "sigmoid"] = "none"

    def names(self) -> tuple[str, ...]:
        return self.scores_outputs + self.boxes_outputs

    def scores(self, outputs: Outputs, *, classes: int) -> Array:
        table = stacked(outputs, self.scores_outputs)
        columns = classes + (0 if self.boxes_outputs else 4 * self.bins)
        if table.shape[1] != columns:
            raise ParameterError(
                f"outputs {self.scores_outputs} have {table.shape[1]} columns, not {columns} for "
                f"{classes} classes and {self.bins} bins; set class_names, head.bins or "
                "head.boxes_outputs"
            )
        return activated(table[:, :classes], self.activation)

    def boxes(self, outputs: Outputs, rows: Rows, *, height: int, width: int) -> Array:
        table = stacked(outputs, self.boxes_outputs or self.scores_outputs)
        centre_N2, stride_N1 = cells(self.strides, height=height, width=width, offset=self.centre)
        check_rows(table, len(centre_N2), self.names()[-1], self.strides)
        logits_K4B = table[rows, -4 * self.bins :].reshape(-1, 4, self.bins)
        weight_K4B = activated(logits_K4B, "softmax")
        distance_K4 = (weight_K4B @ np.arange(self.bins, dtype=np.float32)) * stride_N1[rows]
        low, high = centre_N2[rows] - distance_K4[:, :2], centre_N2[rows] + distance_K4[:, 2:]
        return np.concatenate([low, high], axis=1).astype(np.float32)


class CenterNetHead(Head):
    """Peaks of a heat map a class, with the size and the exact centre of the box there.

    Parameters
    ----------
    heatmap, size, offset : str
        (1, C, h, w), (1, 2, h, w) width and height, (1, 2, h, w) x and y in cells.
    order : {"xy", "yx"}
        Of size and offset: "yx" is height and width, y and x.
    units : {"cells", "pixels", "log_cells"}
        Of the size; "log_cells" is its logarithm. CenterFace: ``order="yx",
        units="log_cells", centre=0.5, activation="none"``.
    centre : float
        Place in a cell that an offset of 0 stands for.
    channels_last : bool
        The outputs are (1, h, w, C) instead.
    activation : {"none", "sigmoid"}
        What is still to be applied to the heat map.

    References
    ----------
    Zhou et al., Objects as Points, 2019.
    """

    style: Literal["centernet"] = "centernet"
    heatmap: str
    size: str
    offset: str
    order: Literal["xy", "yx"] = "xy"
    units: Literal["cells", "pixels", "log_cells"] = "cells"
    centre: float = Field(0.0, ge=0, le=1)
    channels_last: bool = False
    activation: Literal["none", "sigmoid"] = "sigmoid"

    def names(self) -> tuple[str, ...]:
        return self.heatmap, self.size, self.offset

    def scores(self, outputs: Outputs, *, classes: int) -> Array:
        from scipy.ndimage import maximum_filter

        map_CHW = self._planes(outputs, self.heatmap)
        if len(map_CHW) != classes:
            raise ParameterError(
                f"output {self.heatmap!r} of shape {outputs[self.heatmap].shape} holds "
                f"{len(map_CHW)} maps for {classes} classes; set class_names or "
                "head.channels_last"
            )
        peak = map_CHW == maximum_filter(map_CHW, size=(1, 3, 3), mode="nearest")
        found = np.where(peak, activated(map_CHW, self.activation), np.float32(0))
        return found.reshape(classes, -1).T

    def boxes(self, outputs: Outputs, rows: Rows, *, height: int, width: int) -> Array:
        size, offset = (self._planes(outputs, name) for name in (self.size, self.offset))
        _, high, wide = size.shape
        stride_2 = np.array([width / wide, height / high], np.float32)
        row, column = np.divmod(rows, wide)
        size_K2, offset_K2 = size[:, row, column].T, offset[:, row, column].T
        if self.order == "yx":
            size_K2, offset_K2 = size_K2[:, ::-1], offset_K2[:, ::-1]
        if self.units == "log_cells":
            size_K2 = np.exp(size_K2)
        centre_K2 = (np.stack([column, row], axis=1) + self.centre + offset_K2) * stride_2
        half_K2 = size_K2 / 2 * (1 if self.units == "pixels" else stride_2)
        return np.concatenate([centre_K2 - half_K2, centre_K2 + half_K2], axis=1).astype(np.float32)

    def _planes(self, outputs: Outputs, name: str) -> Array:
        found = outputs[name]
        if found.ndim != 4:
            raise ParameterError(f"output {name!r} of shape {found.shape} is no batch of maps")
        return found[0].transpose(2, 0, 1) if self.channels_last else found[0]


AnyHead = Annotated[
    YoloHead | SsdHead | ListHead | NanoDetHead | CenterNetHead, Field(discriminator="style")
]
