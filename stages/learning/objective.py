"""The module that is trained: an encoder, a method's heads, and the method's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build, load_state
from stages.learning.method import Method, Step
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError


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


def trained_heads(objective: Objective) -> dict[str, Tensor]:
    """State of the heads that gradients reach: no queues, no copies that follow by momentum."""
    trained = [
        name
        for name, head in objective.heads.items()
        if any(parameter.requires_grad for parameter in head.parameters())
    ]
    return {
        key: value.cpu()
        for key, value in objective.heads.state_dict().items()
        if key.partition(".")[0] in trained
    }


def load_objective(files: EncoderFiles) -> Objective:
    """Encoder, in the form it was trained in, and trained heads of an artifact, for a test.

    Heads that were not trained, such as queues, are as new.

    Raises
    ------
    SchemaError
        If the artifact has no heads, or others than its method's.
    """
    if not files.method or not files.heads.exists():
        raise SchemaError(
            f"{files.folder} has no heads: it was given, fine-tuned, or trained by an older "
            "version; this protocol needs the artifact of a `pretrain` step"
        )
    method = Method.choose(files.method)
    with torch.random.fork_rng(devices=[]):  # weights that are drawn only to be replaced
        encoder = build(EncoderSpec.model_validate(files.parameters), **method.encoder_options)
        objective = Objective(method, encoder)
    try:
        encoder.load_state_dict(load_state(files.weights))
        unknown = objective.heads.load_state_dict(load_state(files.heads), strict=False)
        lacking = trained_heads(objective).keys() & set(unknown.missing_keys)
        if unknown.unexpected_keys or lacking:
            raise RuntimeError(f"unexpected {unknown.unexpected_keys}, missing {sorted(lacking)}")
    except RuntimeError as error:
        raise SchemaError(f"{files.folder} does not fit {method.name}: {error}") from error
    return objective.eval()
