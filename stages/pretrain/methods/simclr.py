"""SimCLR on clips, as CVRL does it: two clips of a video agree, against all of the batch.

The baseline of ConST-CL, and its global half (Qian et al., CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from stages.learning.clip_pair import ClipPair
from stages.learning.method import Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class SimCLR(ClipPair, version=1):
    """Hyper-parameters are those of `ClipPair`."""

    form_from: ClassVar[str] = "CVRL code: yaml"

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """Projector."""
        return {"projector": self.clip.projector(int(encoder.out_channels))}  # type: ignore[arg-type]

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        """Contrast of the two views; see `clip_loss`."""
        maps_BCTHW = objective.encoder(self.network_input(batch, generator))
        return Step(*self.clip.loss(objective.heads["projector"], maps_BCTHW))
