"""Two clips of one video, each with a geometry of its own: the views of contrastive methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures import caption, stack, strip
from stages.learning.views import CROP_ASPECT, FLIP_PROBABILITY, ResizedCrop
from storage_schemas.frames import Frames

_SHOWN = 4


def sample_view(
    frames: Frames,
    rng: np.random.Generator,
    *,
    indices: NDArray[np.int64],
    size: int,
    area: tuple[float, float],
    aspect: tuple[float, float] = CROP_ASPECT,
    tries: int = 10,
) -> NDArray[np.uint8]:
    """The frames at `indices` through one random crop and flip: (T, size, size, 3)."""
    geometry = ResizedCrop.sample(
        rng,
        height=frames.height,
        width=frames.width,
        size=size,
        area=area,
        aspect=aspect,
        tries=tries,
    )
    return geometry.apply(frames.decode(indices))


def usual_crop(source: str) -> Iterable[tuple[str, Any, str]]:
    """What `sample_view` does that no parameter changes; see `Parameters.consequences`."""
    yield "crop_aspect", [round(bound, 4) for bound in CROP_ASPECT], source
    yield "flip_probability", FLIP_PROBABILITY, source


def picture_pair(*views: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Views (T, S, S, 3) below each other, four frames each."""
    lines = []
    for name, view in zip(("first view", "second view"), views, strict=True):
        chosen = np.linspace(0, len(view) - 1, min(_SHOWN, len(view))).astype(int)
        lines.append(caption(strip(list(view[chosen].astype(np.uint8))), name))
    return stack(lines)
