"""MoCo's machinery, for every method that stands on it: two views, a twin and a queue.

Free of torch at import, so that planning can read the settings.

References
----------
He et al., *Momentum Contrast*, CVPR 2020; two-way form after FAME (Ding et al., CVPR 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.parameters import OWN, Parameters, constant
from stages.learning.method import Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class MomentumContrast(Parameters):
    """Settings of the contrast between two views of a video.

    Parameters
    ----------
    dim : int
        Dimensions of the embedding.
    hidden : int or None
        Width of the projector's hidden layer; None for a linear one.
    temperature : float
    momentum : float
        Of the twin encoder, per step.
    queue_size : int
        Keys that serve as negatives.
    symmetric : bool
        Whether the views also change roles; the losses are averaged.
    reread_queue : bool
        As FAME's released code, let the second pass see the first pass's keys among its
        negatives: each query then meets its own video as a negative.
    """

    dim: int = constant(128, "FAME supplement and code", ge=1)
    hidden: int | None = constant(512, "FAME code: fc of R(2+1)D", ge=1)
    temperature: float = constant(0.1, "FAME supplement and code", gt=0)
    momentum: float = constant(0.999, "FAME supplement and code", ge=0, lt=1)
    queue_size: int = constant(16384, OWN, ge=1)
    symmetric: bool = constant(True, "FAME code: moco/builder.py")
    reread_queue: bool = constant(False, OWN)

    def idle(self) -> frozenset[str]:
        """There is no second pass unless the views change roles."""
        return frozenset() if self.symmetric else frozenset({"reread_queue"})

    def heads(self, encoder: nn.Module) -> dict[str, nn.Module]:
        """Projector, twins of encoder and projector, queue."""
        from stages.learning.contrastive import Projector, Queue, momentum_copy

        projector = Projector(int(encoder.out_channels), self.dim, hidden=self.hidden)  # type: ignore[arg-type]
        return {
            "projector": projector,
            "twin_encoder": momentum_copy(encoder),
            "twin_projector": momentum_copy(projector),
            "queue": Queue(self.queue_size, self.dim),
        }

    def step(
        self,
        objective: Objective,
        first: Tensor,
        second: Tensor,
        generator: np.random.Generator,
        *,
        features: Tensor | None = None,
    ) -> Step:
        """Loss of two batches of views (B, 3, T, H, W); row *i* of both is one video.

        `features` are the encoder's of the first views, if they are known already.
        """
        from stages.learning.contrastive import accuracy, contrast, info_nce
        from stages.learning.health import alignment, uniformity

        queue: Any = objective.heads["queue"]
        negatives = queue.keys_KD.clone()  # a push after this step must not change the graph
        if features is None:
            features = objective.encoder(first)
        query = objective.heads["projector"](features)
        key = embed_keys(objective, second, generator)
        logits = contrast(query, key, negatives, temperature=self.temperature)
        metrics = {
            "contrast_accuracy": accuracy(logits),
            "contrast_top5": accuracy(logits, top=5),
            "alignment": alignment(query, key),
            "uniformity": uniformity(query),
        }
        loss, keys = info_nce(logits), [key]
        if self.symmetric:
            if self.reread_queue:
                negatives = queue.after(key)
            query = embed(objective, second)
            key = embed_keys(objective, first, generator)
            other = contrast(query, key, negatives, temperature=self.temperature)
            loss, keys = (loss + info_nce(other)) / 2, [*keys, key]
        return Step(
            loss=loss,
            metrics=metrics,
            keep={f"keys_{i}": key for i, key in enumerate(keys)},
        )

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue the keys in the order of the passes, then move the twins."""
        queue: Any = objective.heads["queue"]
        for name in sorted(step.keep):
            queue.push(step.keep[name])
        follow_twins(objective, momentum=self.momentum)


def embed(objective: Objective, clips_BCTHW: Tensor) -> Tensor:
    """Unit vectors (B, D) of the trained encoder and projector."""
    vectors: Tensor = objective.heads["projector"](objective.encoder(clips_BCTHW))
    return vectors


def embed_keys(objective: Objective, clips_BCTHW: Tensor, generator: np.random.Generator) -> Tensor:
    """Unit vectors (B, D) of the twins, without gradients, by shuffled batches."""
    from stages.learning.distributed import encode_shuffled

    heads = objective.heads

    def encode(clips: Tensor) -> tuple[Tensor]:
        return (heads["twin_projector"](heads["twin_encoder"](clips)),)

    (keys,) = encode_shuffled(encode, clips_BCTHW, generator)
    return keys


def follow_twins(objective: Objective, *, momentum: float) -> None:
    """Move every head named ``twin_X`` towards X, which is a head or the encoder."""
    from stages.learning.contrastive import follow

    for name, twin in objective.heads.items():
        if name.startswith("twin_"):
            original = name.removeprefix("twin_")
            source = objective.encoder if original == "encoder" else objective.heads[original]
            follow(twin, source, momentum=momentum)
