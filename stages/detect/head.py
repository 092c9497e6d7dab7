"""What every style of head has in common, and how outputs are read as tables.

A head reads two things off the outputs of a network: the scores of all candidates and the
boxes of chosen ones. What every style repeats (choosing candidates, class names, the way
back to the frame) is `OnnxDetector`'s.

Shapes: N candidates of all levels, C classes, K chosen candidates. Boxes are ``xyxy`` in
pixels of the network's image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import OWN, Parameters
from storage_schemas.errors import ParameterError

Array = NDArray[np.float32]
Rows = NDArray[np.integer[Any]]
Outputs = Mapping[str, Array]
Activation = Literal["none", "sigmoid", "softmax"]


class Head(Parameters):
    """Base of the styles. An output is named as in the file; "" is the only output."""

    origin = OWN

    def names(self) -> tuple[str, ...]:
        """Outputs that are read."""
        raise NotImplementedError

    def scores(self, outputs: Outputs, *, classes: int) -> Array:
        """Scores (N, C) in [0, 1]; raises `ParameterError` if an output has another shape."""
        raise NotImplementedError

    def boxes(self, outputs: Outputs, rows: Rows, *, height: int, width: int) -> Array:
        """Boxes (K, 4) of the candidates `rows`, for a network image of that size."""
        raise NotImplementedError


class BoxFormatHead(Head):
    """A style whose boxes are four numbers.

    Parameters
    ----------
    order : {"xyxy", "yxyx", "xywh", "cxcywh"}
        Corners, or a corner or centre and the size.
    units : {"pixels", "fractions"}
        Of the network's image.
    """

    order: Literal["xyxy", "yxyx", "xywh", "cxcywh"] = "xyxy"
    units: Literal["pixels", "fractions"] = "pixels"

    def _corners(self, box_K4: Array, *, height: int, width: int) -> Array:
        first, second = box_K4[:, :2], box_K4[:, 2:]
        if self.order == "yxyx":
            first, second = first[:, ::-1], second[:, ::-1]
        elif self.order == "xywh":
            second = first + second
        elif self.order == "cxcywh":
            half = second * np.float32(0.5)
            first, second = first - half, first + half
        corner_K4: Array = np.concatenate([first, second], axis=1, dtype=np.float32)
        if self.units == "fractions":
            corner_K4 *= np.array([width, height] * 2, np.float32)
        return corner_K4


def cells(
    strides: Sequence[int], *, height: int, width: int, offset: float = 0.5
) -> tuple[Array, Array]:
    """Centres (N, 2) and strides (N, 1) of the cells of all levels, in network pixels."""
    centres, steps = [], []
    for stride in strides:
        high, wide = -(-height // stride), -(-width // stride)
        row, column = np.divmod(np.arange(high * wide), wide)
        centres.append((np.stack([column, row], axis=1) + offset) * stride)
        steps.append(np.full((len(row), 1), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(steps).astype(np.float32)


def activated(values: Array, activation: Activation) -> Array:
    """Values after what is still to be applied to them; softmax is over the last axis."""
    if activation == "sigmoid":
        from scipy.special import expit

        return expit(values, dtype=np.float32)
    if activation == "softmax":
        weights = np.exp(values - values.max(axis=-1, keepdims=True))
        return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return values


def rows_of(output: Array, name: str) -> Array:
    """An output as rows: axes of length one in front are dropped."""
    found = output
    while found.ndim > 2 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2:
        raise ParameterError(
            f"output {name!r} of shape {output.shape} is no table of candidates; choose another "
            "head.style, or another output"
        )
    return found


def stacked(outputs: Outputs, names: Sequence[str]) -> Array:
    """Outputs of several levels as one table."""
    return np.concatenate([rows_of(outputs[name], name) for name in names])


def check_rows(table: Array, expected: int, name: str, strides: Sequence[int]) -> None:
    """Raise `ParameterError` if a table has not a row for each place of the levels."""
    if len(table) != expected:
        raise ParameterError(
            f"output {name!r} has {len(table)} rows, but strides {tuple(strides)} give {expected} "
            "for this input size; set the head's strides, or input.height and input.width"
        )
