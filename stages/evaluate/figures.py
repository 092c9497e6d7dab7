"""Pictures of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ink import PAPER
from pipeline.pictures import bar_chart, caption
from storage_schemas.metrics import Metrics


def bars(metrics: Any, *, title: str) -> NDArray[np.uint8]:
    """A bar for each share, encoders side by side."""
    assert isinstance(metrics, Metrics)
    groups: dict[str, dict[str, float]] = {}
    for row in metrics.rows:
        if row.unit == "share":
            name = f"{row.preset} {row.metric}, {row.split}".strip()
            groups.setdefault(name, {})[row.encoder] = row.value
    return bar_chart(groups, title=title)


def remark(text: str) -> NDArray[np.uint8]:
    """A line of text, where a protocol has no numbers."""
    return caption(np.full((1, 640, 3), PAPER, np.uint8), text)
