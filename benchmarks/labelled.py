"""Not self-supervised: what the labels teach the same encoder in as many steps.

A bound for the methods measured by ``benchmarks/results.py``: what labels do not teach in a
short training, no method can be blamed for. The class is the folder of a video, as in UCF101
layout; views are not mirrored, which would change the class of a motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.learning.clips import sample_window
from stages.learning.method import Method, Step
from stages.learning.sample import Sample
from stages.learning.views import ResizedCrop
from stages.sources.motion_shapes import CLASSES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class Labelled(Method, version=1):
    """Cross entropy of a linear layer on averaged features."""

    num_frames: int = Field(8, ge=1)
    frame_stride: int = Field(2, ge=1)
    size: int = Field(48, ge=32)
    crop_area: tuple[float, float] = (0.5, 1.0)

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``clip`` (T, S, S, 3), uint8, and ``label``."""
        video = sample.frames
        indices = sample_window(
            rng, length=len(video), num_frames=self.num_frames, stride=self.frame_stride
        )
        crop = ResizedCrop.sample(
            rng,
            height=video.height,
            width=video.width,
            size=self.size,
            area=self.crop_area,
            flip_probability=0.0,
        )
        label = CLASSES.index(video.video_id.split("/")[0])
        return {"clip": crop.apply(video.decode(indices)), "label": np.asarray(label)}

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """The classifier."""
        from torch import nn

        return {"classes": nn.Linear(int(encoder.out_channels), len(CLASSES))}  # type: ignore[arg-type]

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Cross entropy, and the share of clips that are told rightly."""
        from torch.nn import functional

        from stages.learning.pixels import normalise

        maps_BCTHW = objective.encoder(normalise(batch["clip"]))
        scores_BC = objective.heads["classes"](maps_BCTHW.mean((2, 3, 4)))
        right = (scores_BC.detach().argmax(1) == batch["label"]).float().mean()
        return Step(functional.cross_entropy(scores_BC, batch["label"]), {"label_accuracy": right})
