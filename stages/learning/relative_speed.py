"""RSPNet's machinery: clips of one speed are nearer than clips of two speeds.

Free of torch at import, so that planning can read the settings. Shapes: B clips of this
rank, T frames of a clip, D dimensions.

References
----------
Chen et al., *RSPNet*, AAAI 2021; specs/rspnet.md section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pipeline.parameters import Parameters, constant
from stages.learning.method import Step
from stages.learning.momentum_contrast import follow_twins

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.learning.objective import Objective


class Speeds(NamedTuple):
    """Query, key of the query's speed, key of the other speed; (B, 3, T, H, W) each."""

    query: Tensor
    same: Tensor
    other: Tensor


class RelativeSpeed(Parameters):
    """Settings of both tasks: telling videos apart, and telling speeds apart.

    Parameters
    ----------
    speed : int
        Of the faster clips, in frames of the slower ones.
    slow_share : float
        Share of a batch whose query plays at the slower speed.
    dim, temperature, momentum, queue_size
        As in `MomentumContrast`; the projectors are linear.
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
    slow_share: float = constant(0.5, "RSPNet code: alpha", ge=0, le=1)
    dim: int = constant(128, "RSPNet code and supplement", ge=1)
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

    def heads(self, encoder: nn.Module) -> dict[str, nn.Module]:
        """A projector a task, their twins, and the queue."""
        from stages.learning.contrastive import Projector, Queue, momentum_copy

        channels = int(encoder.out_channels)  # type: ignore[arg-type]
        video, speed = Projector(channels, self.dim), Projector(channels, self.dim)
        return {
            "video": video,
            "speed": speed,
            "twin_encoder": momentum_copy(encoder),
            "twin_video": momentum_copy(video),
            "twin_speed": momentum_copy(speed),
            "queue": Queue(self.queue_size, self.dim),
        }

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
        mine = torch.from_numpy(slow[local_rows(len(query))]).to(query.device)
        is_slow = mine.view(-1, 1, 1, 1, 1)

        def at(clips: Tensor, speed: int) -> Tensor:
            return clips[:, :, : num_frames * speed : speed]

        return Speeds(
            query=torch.where(is_slow, at(query, 1), at(query, self.speed)),
            same=torch.where(is_slow, at(key, 1), at(key, self.speed)),
            other=torch.where(is_slow, at(key, self.speed), at(key, 1)),
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

        from stages.learning.contrastive import accuracy, contrast, info_nce
        from stages.learning.health import alignment, uniformity

        heads: Any = objective.heads
        other_video, other_speed = encode_keys(objective, clips.other, generator)
        same_video, same_speed = encode_keys(objective, clips.same, generator)
        if features is None:
            features = objective.encoder(clips.query)
        video, speed = heads["video"](features), heads["speed"](features)
        negatives = heads["queue"].keys_KD.clone()
        same = contrast(video, same_video, negatives, temperature=self.temperature)
        other = contrast(video, other_video, negatives, temperature=self.temperature)
        video_loss = info_nce(same) + info_nce(other)
        near, far = (speed * same_speed).sum(1), (speed * other_speed).sum(1)
        speed_loss = speed_margin_loss(
            near, far, margin=self.margin, temperature=self.speed_temperature
        )
        return Step(
            loss=self.video_weight * video_loss + self.speed_weight * speed_loss,
            metrics={
                "video": video_loss.detach(),
                "speed": speed_loss.detach(),
                "contrast_accuracy": accuracy(same),
                "alignment": alignment(video, same_video),
                "uniformity": uniformity(video),
                "speed_accuracy": (near > far).to(torch.float32).mean(),
            },
            keep={"keys": other_video if self.enqueue == "other" else same_video},
        )

    def after_step(self, objective: Objective, step: Step) -> None:
        """Queue the keys, then move the twins."""
        queue: Any = objective.heads["queue"]
        queue.push(step.keep["keys"])
        follow_twins(objective, momentum=self.momentum)


def encode_keys(
    objective: Objective, clips: Tensor, generator: np.random.Generator
) -> tuple[Tensor, ...]:
    """Unit vectors (B, D) of both twins' projectors, by shuffled batches."""
    from stages.learning.distributed import encode_shuffled

    heads = objective.heads

    def encode(shuffled: Tensor) -> tuple[Tensor, ...]:
        features = heads["twin_encoder"](shuffled)
        return heads["twin_video"](features), heads["twin_speed"](features)

    return encode_shuffled(encode, clips, generator)


def speed_margin_loss(
    near_B: Tensor, far_B: Tensor, *, margin: float, temperature: float
) -> Tensor:
    """Mean of max(0, margin - (near - far) / temperature) over similarities in -1..1."""
    return (margin - (near_B - far_B) / temperature).clamp(min=0).mean()
