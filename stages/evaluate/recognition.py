"""Action recognition as the trainer sees it: a clip and its class, a linear layer, a loss.

It is a `Method` like those of pretraining, so fine-tuning is trained by the same trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.parameters import Parameters
from pipeline.pictures import strip
from stages.evaluate.training_clips import TrainingClips
from stages.learning.method import Method, Step
from stages.learning.sample import Sample
from stages.learning.standardisation import IMAGENET, Channels

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective

_PICTURED = 6


class Head(Parameters):
    """What stands on the encoder's average over space and time.

    Parameters
    ----------
    normalise : bool
        Scale the average to unit length.
    dropout : float
    initial_std : float or None
        Of the weights, with biases of 0; None for torch's own.
    """

    origin = "RSPNet code: finetune.py"

    normalise: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    initial_std: float | None = Field(None, gt=0)


class Recognition(Method, version=1):
    """Cross entropy of a linear layer.

    Parameters
    ----------
    clips : TrainingClips
    head : Head
    frozen : bool
        Train the layer only; the encoder keeps its weights and batch statistics.
    num_classes : int
    mean, std : (float, float, float)
        Of the encoder's input.
    """

    clips: TrainingClips = TrainingClips()
    head: Head = Head()
    frozen: bool = False
    num_classes: int = Field(2, ge=2)
    mean: Channels = IMAGENET.mean
    std: Channels = IMAGENET.std

    @property
    def trains_encoder(self) -> bool:
        return not self.frozen

    def views(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        """``clip`` (T, S, S, 3) and ``label`` ()."""
        return {
            "clip": np.ascontiguousarray(self.clips.cut(sample.frames, rng)),
            "label": np.asarray(sample.label, np.int64),
        }

    def heads(self, encoder: nn.Module) -> Mapping[str, nn.Module]:
        """The linear layer."""
        from torch import nn

        classifier = nn.Linear(int(encoder.out_channels), self.num_classes)  # type: ignore[arg-type]
        if self.head.initial_std is not None:
            nn.init.normal_(classifier.weight, std=self.head.initial_std)
            nn.init.zeros_(classifier.bias)
        return {"classifier": classifier}

    def loss(
        self, objective: Objective, batch: Mapping[str, Tensor], generator: np.random.Generator
    ) -> Step:
        from torch.nn import functional

        features_BC = self.features(objective, self._pixels(batch["clip"], generator))
        logits_BK = objective.heads["classifier"](self._dropped(features_BC, generator))
        labels_B = batch["label"]
        accuracy = (logits_BK.argmax(1) == labels_B).float().mean()
        return Step(functional.cross_entropy(logits_BK, labels_B), {"accuracy": accuracy})

    def _pixels(self, clips_BTHWC: Tensor, generator: np.random.Generator) -> Tensor:
        from stages.learning.ctp_colour import ctp_recognition_colour
        from stages.learning.photometric import network_input
        from stages.learning.pixels import normalise

        if self.clips.ctp_colour:
            coloured = ctp_recognition_colour(clips_BTHWC, generator)
            return normalise(coloured, mean=self.mean, std=self.std)
        law = self.clips.colour_law
        return network_input(clips_BTHWC, generator, law=law, mean=self.mean, std=self.std)

    def features(self, objective: Objective, pixels_BCTHW: Tensor) -> Tensor:
        """What the linear layer sees, (B, C)."""
        import torch

        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.pooled(objective.encoder(pixels_BCTHW))

    def pooled(self, map_BCTHW: Tensor) -> Tensor:
        """The encoder's map averaged, and scaled if the head has it so: (B, C)."""
        from torch.nn import functional

        features_BC = map_BCTHW.mean((2, 3, 4))
        return functional.normalize(features_BC, dim=1) if self.head.normalise else features_BC

    def _dropped(self, features_BC: Tensor, generator: np.random.Generator) -> Tensor:
        """Dropout by the generator that all ranks share: each takes its rows."""
        import torch

        from stages.learning.distributed import local_rows, world_size

        if self.head.dropout == 0:
            return features_BC
        batch, channels = features_BC.shape
        kept = generator.random((batch * world_size(), channels)) >= self.head.dropout
        mask = torch.from_numpy(kept[local_rows(batch)]).to(features_BC.device)
        return features_BC * mask / (1 - self.head.dropout)

    def logits(self, objective: Objective, clips_BTHWC: Tensor) -> Tensor:
        """Of clips in a test, (B, num_classes)."""
        from stages.learning.pixels import normalise

        pixels = normalise(clips_BTHWC, mean=self.mean, std=self.std)
        logits_BK: Tensor = objective.heads["classifier"](self.features(objective, pixels))
        return logits_BK

    def picture(self, views: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Some frames of the clip."""
        clip = views["clip"]
        chosen = np.linspace(0, len(clip) - 1, min(_PICTURED, len(clip))).astype(int)
        return strip(list(clip[chosen].astype(np.uint8)), height=96)
