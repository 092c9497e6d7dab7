from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from stages.track.backends.saliency import Saliency, saliency
from stages.track.track import Track


@pytest.mark.parametrize("algorithm", ["spectral_residual", "fine_grained"])
def test_a_thing_that_never_moves_is_a_tube(
    make_frames: Callable[..., Any], algorithm: Literal["spectral_residual", "fine_grained"]
) -> None:
    rng = np.random.default_rng(0)
    images = np.full((12, 120, 160, 3), 110.0)
    cv2.circle(images[0], (100, 50), 14, (230, 60, 40), -1)
    images[0, 36:64:4, 86:114] = 250
    images[:] = images[0]
    images += rng.normal(0, 2, images.shape)
    frames = make_frames(frames=images.astype(np.uint8))
    boxes = Track(backend=Saliency(algorithm=algorithm, factor=2.0)).process(frames=frames)
    assert boxes.track is not None
    best = max(
        int(boxes.mask(int(row))[38:63, 88:113].sum()) for row in np.flatnonzero(boxes.frame == 6)
    )
    assert best > 150
    assert len(Track().process(frames=frames)) == 0
    strict = Track(backend=Saliency(algorithm=algorithm, factor=2.0), min_score=0.95)
    assert len(strict.process(frames=frames)) == 0


def test_a_blank_frame_has_nothing_that_stands_out() -> None:
    found = saliency(Saliency()._detector(), np.full((60, 80, 3), 90, np.uint8))
    assert not (found > max(3 * found.mean(), 1e-6)).any()
