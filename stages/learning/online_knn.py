"""Accuracy of nearest neighbours while an encoder trains.

Training videos are classified, each by its nearest others (leave-one-out), so that no test
video is looked at. Videos that were cut from one recording make it easier than retrieval.
Free of torch at import, so that planning can read the settings.

References
----------
Wu et al., *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*,
CVPR 2018 (weights of the votes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import OWN, Parameters, constant
from stages.learning.views import CropAndFlip
from storage_schemas.frames import Frames

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stages.learning.objective import Objective

_BATCH = 16
_TEMPERATURE = 0.07


class OnlineKnn(Parameters):
    """When and how it is measured; it changes nothing of the training.

    Parameters
    ----------
    every : int
        Epochs between two looks; the last epoch is looked at, too. 0 turns it off, and
        labels are not read.
    videos : int
        At most so many take part, evenly from all classes.
    neighbours : int
        That vote.
    frame_stride : int
        Of the clip in the middle of a video, cut at its centre.
    """

    every: int = constant(10, OWN, ge=0)
    videos: int = constant(256, OWN, ge=2)
    neighbours: int = constant(5, OWN, ge=1)
    frame_stride: int = constant(1, OWN, ge=1)

    def is_due(self, epoch: int, *, epochs: int) -> bool:
        """Whether to look after `epoch`, counted from 1."""
        return self.every > 0 and (epoch % self.every == 0 or epoch == epochs)

    def choose(self, labels: Mapping[str, str], videos: Sequence[str]) -> dict[str, str]:
        """Video -> class of those that take part; none if they have fewer than two classes."""
        by_class: dict[str, list[str]] = defaultdict(list)
        for video_id in sorted(videos):
            if labels.get(video_id):
                by_class[labels[video_id]].append(video_id)
        rounds = zip_longest(*(by_class[label] for label in sorted(by_class)))
        chosen = [video_id for one in rounds for video_id in one if video_id is not None]
        if len(by_class) < 2 or len(chosen) <= self.neighbours:
            return {}
        return {video_id: labels[video_id] for video_id in chosen[: self.videos]}

    def clip(self, frames: Frames, *, num_frames: int, size: int) -> NDArray[np.uint8]:
        """The clip (T, S, S, 3) of a video; a short video loops."""
        start = max(0, len(frames) - num_frames * self.frame_stride) // 2
        indices = (start + self.frame_stride * np.arange(num_frames)) % len(frames)
        crop = CropAndFlip.centred(height=frames.height, width=frames.width, size=size)
        return crop.apply(frames.decode(indices))

    def accuracy(
        self,
        objective: Objective,
        videos: Mapping[str, Frames],
        labels: Mapping[str, str],
        *,
        device: torch.device,
        autocast: torch.autocast,
    ) -> dict[str, float]:
        """``knn_accuracy`` of the encoder at hand, or nothing where no video has a label.

        Batch statistics stay as they are and nothing is drawn at random.
        """
        import torch

        from stages.learning.pixels import normalise

        if not labels:
            return {}
        method: Any = objective.method
        encoder, chosen, found = objective.encoder, list(labels), []
        was_training = encoder.training
        encoder.eval()
        with torch.no_grad():
            for start in range(0, len(chosen), _BATCH):
                clips_BTHWC = np.stack(
                    [
                        self.clip(videos[v], num_frames=method.num_frames, size=method.size)
                        for v in chosen[start : start + _BATCH]
                    ]
                )
                clips = torch.from_numpy(clips_BTHWC).to(device)
                with autocast:
                    maps = encoder(normalise(clips, **method.standardisation._asdict()))
                found.append(maps.float().mean((2, 3, 4)))
        encoder.train(was_training)
        classes = sorted(set(labels.values()))
        labels_V = torch.tensor([classes.index(labels[v]) for v in chosen], device=device)
        accuracy = leave_one_out_accuracy(torch.cat(found), labels_V, neighbours=self.neighbours)
        return {"knn_accuracy": float(accuracy)}


def leave_one_out_accuracy(vectors_VD: Tensor, labels_V: Tensor, *, neighbours: int) -> Tensor:
    """Share of the videos whose class has most votes among their nearest others.

    Parameters
    ----------
    vectors_VD : Tensor
        Of any length; the cosine counts.
    labels_V : Tensor, int64
        From 0 on.
    neighbours : int

    Notes
    -----
    A vote weighs exp(cosine / 0.07).
    """
    import torch

    unit_VD = torch.nn.functional.normalize(vectors_VD.float(), dim=1)
    cosine_VV = (unit_VD @ unit_VD.T).fill_diagonal_(-torch.inf)
    nearest_VK, index_VK = cosine_VV.topk(neighbours, dim=1)
    votes_VC = torch.zeros(len(labels_V), int(labels_V.max()) + 1, device=vectors_VD.device)
    weight_VK = torch.exp((nearest_VK - 1) / _TEMPERATURE)
    votes_VC.scatter_add_(1, labels_V[index_VK], weight_VK)
    return (votes_VC.argmax(1) == labels_V).float().mean()
