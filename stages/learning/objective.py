"""The module that is trained: an encoder, a method's heads, and the method's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from torch import Tensor, nn

from stages.learning.method import Method, Step


class Objective(nn.Module):
    """Encoder and heads under one roof, so that DDP, checkpoints and `train()` see all.

    ``forward(batch, generator)`` gives the method's `Step`.
    """

    def __init__(self, method: Method, encoder: nn.Module) -> None:
        super().__init__()
        self.method = method
        self.encoder = encoder.requires_grad_(method.trains_encoder)
        self.heads = nn.ModuleDict(dict(method.heads(encoder)))

    def train(self, mode: bool = True) -> Self:
        """Training mode; an encoder that does not learn stays in evaluation mode."""
        super().train(mode)
        self.encoder.train(mode and self.method.trains_encoder)
        return self

    def forward(self, batch: Mapping[str, Tensor], generator: np.random.Generator) -> Step:
        """Loss and metrics of a batch."""
        return self.method.loss(self, batch, generator)
