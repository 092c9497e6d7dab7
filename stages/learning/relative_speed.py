"""RSPNet's machinery: clips of one speed are nearer than clips of two speeds.

Free of torch at import, so that planning can read the settings. Shapes: B clips of this
rank, T frames of a clip, D dimensions.

References
----------
Chen et al., *RSPNet*, AAAI 2021; specs/rspnet.md section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import model_validator

from pipeline.parameters import Parameters, constant
from stages.learning.method import PairMap, Step
from stages.learning.momentum_contrast import follow_twins

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class Speeds(NamedTuple):
    """Query, key of the query's speed, key of the other speed; (B, 3, T, H, W) each.

    ``is_fast`` of shape (B,), bool: whether query and ``same`` play at the higher speed.
    """

    query: Tensor
    same: Tensor
    other: Tensor
    is_fast: Tensor


class RelativeSpeed(Parameters):
    """Settings of both tasks: telling videos apart, and telling speeds apart.

    Parameters
    ----------
    speed : int
        Of the faster clips, in frames of the slower ones.
    lesser_speeds : tuple of int
        Others that a step may draw in its place; the code names (2, 1) beside 4.
    slow_share : float
        Share of a batch whose query plays at the slower speed.
    dim, temperature, momentum, queue_size
        As in `MomentumContrast`.
    projector : {"linear", "mlp", "conv", "conv_bn"}
        "mlp" has a hidden layer as wide as the encoder's map. "conv" has two convolutions of
        3x3x3 with ReLU between, "conv_bn" one with batch normalisation and ReLU, before the
        map is averaged for the linear layer.
    speed_task : {"relative", "absolute"}
        "absolute" is SpeedNet's, which the paper compares with: one linear layer says
        whether the query plays at the higher speed.
    margin : float
        By which a key of the same speed must be nearer than one of the other speed.
    speed_temperature : float
        Divides the similarities of the speed task; the margin is not divided.
    video_weight, speed_weight : float
        Of the two tasks in the loss.
    enqueue : {"other", "same"}
        Which key becomes a negative of later steps.
    """

    speed: int = constant(2, "RSPNet code: moco.diff_speed", ge=2)
    lesser_speeds: tuple[int, ...] = constant((), "RSPNet code: moco.diff_speed")
    slow_share: float = constant(0.5, "RSPNet code: alpha", ge=0, le=1)
    dim: int = constant(128, "RSPNet code and supplement", ge=1)
    projector: Literal["linear", "mlp", "conv", "conv_bn"] = constant(
        "linear", "RSPNet code: fc_type"
    )
    speed_task: Literal["relative", "absolute"] = constant("relative", "RSPNet")
    temperature: float = constant(0.07, "RSPNet code; PreViTS supplement", gt=0)
    momentum: float = constant(0.999, "RSPNet code", ge=0, lt=1)
    queue_size: int = constant(16384, "RSPNet code", ge=1)
    margin: float = constant(2.0, "RSPNet code: builder_diffspeed_diffloss.py", ge=0)
    speed_temperature: float = constant(0.07, "RSPNet code: builder_diffspeed_diffloss.py", gt=0)
    video_weight: float = constant(1.0, "RSPNet code: loss_lambda.libsonnet", ge=0)
    speed_weight: float = constant(1.0, "RSPNet code: loss_lambda.libsonnet", ge=0)
    enqueue: Literal["other", "same"] = constant(
        "other", "RSPNet code: builder_diffspeed_diffloss.py"
    )

    @model_validator(mode="after")
    def _check_speeds(self) -> RelativeSpeed:
        if not all(1 <= speed < self.speed for speed in self.lesser_speeds):
            raise ValueError(
                f"lesser_speeds {self.lesser_speeds} must lie in 1..{self.speed - 1}: `speed`, "
                f"which is {self.speed}, says how many frames are read"
            )
        return self

    def idle(self) -> frozenset[str]:
        """What belongs to the speed task that is not chosen."""
        relative = {"margin", "speed_temperature"}
        return frozenset() if self.speed_task == "relative" else frozenset(relative)

    def heads(self, encoder: nn.Module) -> dict[str, nn.Module]:
        """A projector a task, their twins, and the queue; SpeedNet's task has no twin."""
        from torch import nn

        from stages.learning.contrastive import Queue, momentum_copy

        channels = int(encoder.out_channels)  # type: ignore[arg-type]
        heads: dict[str, nn.Module] = {"video": self._projector(channels)}
        if self.speed_task == "relative":
            heads["speed"] = self._projector(channels)
        twins = {f"twin_{name}": momentum_copy(head) for name, head in heads.items()}
        if self.speed_task == "absolute":
            average = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
            heads["speed"] = nn.Sequential(*average, nn.Linear(channels, 1))
        return {
            **heads,
            "twin_encoder": momentum_copy(encoder),
            **twins,
            "queue": Queue(self.queue_size, self.dim),
        }

    def _projector(self, channels: int) -> nn.Module:
        from torch import nn

        from stages.learning.contrastive import Projector

        def convolution() -> nn.Module:
            return nn.Conv3d(channels, channels, 3, padding=1)

        before: nn.Module | None = None
        if self.projector == "conv":
            before = nn.Sequential(convolution(), nn.ReLU(), convolution())
        elif self.projector == "conv_bn":
            before = nn.Sequential(convolution(), nn.BatchNorm3d(channels), nn.ReLU())
        hidden = channels if self.projector == "mlp" else None
        return Projector(channels, self.dim, hidden=hidden, before=before)

    def split(
        self, query: Tensor, key: Tensor, num_frames: int, generator: np.random.Generator
    ) -> Speeds:
        """Cut clips of T frames out of longer ones, at the speeds of a random assignment.

        Parameters
        ----------
        query, key : Tensor of shape (B, 3, T * speed, H, W)
        num_frames : int
            T.
        generator : numpy Generator
            The same on all ranks: the share is kept over the global batch.
        """
        import torch

        from stages.learning.distributed import local_rows, world_size

        total = len(query) * world_size()
        slow = np.zeros(total, np.bool_)
        slow[generator.permutation(total)[: int(self.slow_share * total)]] = True
        fast = self.speed
        if self.lesser_speeds:
            fast = int(generator.choice((self.speed, *self.lesser_speeds)))
        mine = torch.from_numpy(slow[local_rows(len(query))]).to(query.device)
        is_slow = mine.view(-1, 1, 1, 1, 1)

        def at(clips: Tensor, speed: int) -> Tensor:
            return clips[:, :, : num_frames * speed : speed]

        return Speeds(
            query=torch.where(is_slow, at(query, 1), at(query, fast)),
            same=torch.where(is_slow, at(key, 1), at(key, fast)),
            other=torch.where(is_slow, at(key, fast), at(key, 1)),
            is_fast=~mine & (fast > 1),
        )

    def step(
        self,
        objective: Objective,
        clips: Speeds,
        generator: np.random.Generator,
        *,
        features: Tensor | None = None,
    ) -> Step:
        """Loss of both tasks on a batch; `features` are those of the query, if known."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        from stages.learning.contrastive import accuracy, contrast, info_nce
        from stages.learning.health import alignment, uniformity

        heads: Any = objective.heads
        other_video, *other_speed = encode_keys(objective, clips.other, generator)
        same_video, *same_speed = encode_keys(objective, clips.same, generator)
        if features is None:
            features = objective.encoder(clips.query)
        video, speed = heads["video"](features), heads["speed"](features)
        negatives = heads["queue"].keys_KD.clone()
        same = contrast(video, same_video, negatives, temperature=self.temperature)
        other = contrast(video, other_video, negatives, temperature=self.temperature)
        video_loss = info_nce(same) + info_nce(other)
        if self.speed_task == "relative":
            near, far = ((speed * keys).sum(1) for (keys,) in (same_speed, other_speed))
            told = near > far
            speed_loss = speed_margin_loss(
                near, far, margin=self.margin, temperature=self.speed_temperature
            )
        else:
            logits = speed.flatten().to(torch.float32)
            told = (logits > 0) == clips.is_fast
            speed_loss = binary_cross_entropy_with_logits(logits, clips.is_fast.to(logits))
        return Step(
            loss=self.video_weight * video_loss + self.speed_weight * speed_loss,
            metrics={
                "video": video_loss.detach(),
                "speed": speed_loss.detach(),
                "contrast_accuracy": accuracy(same),
                "contrast_top5": accuracy(same, top=5),
                "alignment": alignment(video, same_video),
                "uniformity": uniformity(video),
                "speed_accuracy": told.to(torch.float32).mean(),
            },
            keep={"keys": other_video if self.enqueue == "other" else same_video},
        )

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue the keys, then move the twins."""
        queue: Any = objective.heads["queue"]
        queue.push(step.keep["keys"])
        follow_twins(objective, momentum=self.momentum)

    def maps(self, objective: Objective, pixels_2CTHW: Tensor) -> Iterator[PairMap]:
        """Similarity activation maps of both tasks' projectors, of those that are linear.

        What moves is to be seen by the speed task's, what it looks like by the other's. A
        projector that convolves maps what it has convolved. Both clips pass the trained
        encoder; its twin, which has seen the key, is not kept and follows closely.
        """
        from stages.learning.attention import similarity_activation
        from stages.learning.contrastive import Projector

        features_2CTHW = objective.encoder(pixels_2CTHW)
        for name, kind in (("video", "appearance_similarity"), ("speed", "motion_similarity")):
            head = objective.heads[name]
            if not isinstance(head, Projector) or len(head.layers) > 1:
                continue
            weight_DC: Any = head.layers[0].weight
            maps_2THW, similarity = similarity_activation(head.before(features_2CTHW), weight_DC)
            for clip, values_THW in enumerate(maps_2THW):
                yield PairMap(kind, clip, values_THW, text=f"mean {float(similarity):.3g}")


def encode_keys(
    objective: Objective, clips: Tensor, generator: np.random.Generator
) -> tuple[Tensor, ...]:
    """Unit vectors (B, D) of the twins' projectors, by shuffled batches."""
    from stages.learning.distributed import encode_shuffled

    heads = objective.heads

    def encode(shuffled: Tensor) -> tuple[Tensor, ...]:
        features = heads["twin_encoder"](shuffled)
        twins = [heads[name] for name in ("twin_video", "twin_speed") if name in heads]
        return tuple(twin(features) for twin in twins)

    return encode_shuffled(encode, clips, generator)


def speed_margin_loss(
    near_B: Tensor, far_B: Tensor, *, margin: float, temperature: float
) -> Tensor:
    """Mean of max(0, margin - (near - far) / temperature) over similarities in -1..1."""
    return (margin - (near_B - far_B) / temperature).clamp(min=0).mean()
