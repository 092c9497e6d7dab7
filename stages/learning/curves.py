"""Curves of a training for the report: a panel for each figure of its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures import caption, grid, line_plot

_POINTS = 240  # of a curve; longer ones are averaged down
_PANEL = (330, 130)  # width, height
_NOT_CURVES = ("step", "of", "epoch")


def training_curves(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.uint8]:
    """Picture of all figures over the steps, the loss first.

    Parameters
    ----------
    rows : sequence of mapping
        Of the log. A figure need not be in every row.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name not in _NOT_CURVES))
    width, height = _PANEL
    panels = []
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            curve = {name: thinned(values).tolist()}
            panels.append(line_plot(curve, title="", width=width, height=height))
    return caption(grid(panels, columns=2), f"over {rows[-1]['step']} steps")


def thinned(values: Sequence[float], *, points: int = _POINTS) -> NDArray[np.float64]:
    """Means of at most `points` equal stretches."""
    stretches = np.array_split(np.asarray(values, np.float64), min(points, len(values)))
    return np.array([stretch.mean() for stretch in stretches])
