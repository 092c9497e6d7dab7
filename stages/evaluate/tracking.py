"""Tracking: a head that was trained to follow patches, in videos it has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.marks import Mark, draw_marks
from pipeline.pictures import caption, stack, strip
from pipeline.stage import Context, GatherStage
from pipeline.wording import counted
from stages.evaluate.figures import remark
from stages.evaluate.scoring import LAST, score
from stages.evaluate.split import rows_to_test
from stages.evaluate.stream import decoded_ahead, decoders_for, evaluation_devices
from stages.learning.method import FollowsBoxes, Method
from stages.learning.sample import Sample
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError
from storage_schemas.labels import Labels
from storage_schemas.metrics import Measurements, Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories

if TYPE_CHECKING:
    from stages.learning.objective import Objective

PROTOCOL = "tracking"
STILL = "no motion"
_SHOWN, _FRAMES, _HEIGHT = 3, 6, 144  # pictured videos, frames of each, and their height
_TRUE, _FOUND = 5, 0  # of the palette: blue, red


class Tracking(GatherStage, name="tracking", version=1):
    """Overlap of the boxes that CtP's head finds with the true ones.

    Clips of test videos are made as in training: cut at random, patches pasted along
    synthetic trajectories. Bind a bank that was not trained on: the same law with another
    ``seed``.

    Parameters
    ----------
    num_clips : int
        Of each video, with other patches.
    seed : int
        Of the clips.

    Notes
    -----
    ``IoU`` is a mean over patches and all frames, the first included, whose boxes are given
    to the head; the training logs the same figure. "no motion" leaves patches where they
    were. ctp.md section 4.2.
    """

    num_clips: int = Field(2, ge=1)
    seed: int = Field(0, ge=0)

    def uses_device(self) -> bool:
        """Its network runs there."""
        return True

    def run(
        self,
        *,
        encoder: EncoderFiles,
        shards: Items[Shard],
        trajectories: Trajectories,
        split: Labels | None = None,
        ctx: Context,
    ) -> Metrics:
        """Follow the patches of every test video; of all videos, where there is no `split`.

        No numbers of an encoder that was given, or whose method does not follow boxes.

        Raises
        ------
        ParameterError
            If trajectories are not as long and wide as the method's clips.
        """
        objective = load_follower(encoder)
        if objective is None:
            return Metrics([])
        method: Any = objective.method
        if (trajectories.num_frames, trajectories.size) != (method.num_frames, method.size):
            raise ParameterError(
                f"the encoder was trained on {method.num_frames} frames of {method.size} pixels, "
                f"the trajectories have {trajectories.num_frames} of {trajectories.size}: set "
                "num_frames and size of the step that is bound to `trajectories`"
            )
        name, video_ids = "all", list(shards)
        if split is not None:
            name, rows = rows_to_test(split, shards, classed=False)
            video_ids = [row.video_id for row in rows]
        found, still = [], []
        for i, (_, truth_NKT4, found_NKT4) in enumerate(
            self.followed(objective, shards, trajectories, video_ids, device=ctx.device)
        ):
            found.append(_iou(found_NKT4, truth_NKT4).mean((0, 1)))
            still.append(_iou(truth_NKT4[:, :, :1], truth_NKT4).mean((0, 1)))
            ctx.progress((i + 1) / len(video_ids), counted(i + 1, "video"))
        measured = [
            Measurements(PROTOCOL, "synthetic patches", who, name, video_ids, np.stack(values_VT))
            for who, values_VT in ((encoder.origin, found), (STILL, still))
        ]
        rows_ = [
            row
            for one in measured
            for row in score(one, ["IoU", f"IoU{LAST}"], version=self.version)
        ]
        return Metrics(rows_, measurements=measured)

    def followed(
        self,
        objective: Objective,
        shards: Items[Shard],
        trajectories: Trajectories,
        video_ids: list[str],
        *,
        device: str,
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]]:
        """Clips (N, T, S, S, 3) of each video, the true boxes (N, K, T, 4), and those found."""
        import torch

        method: Any = objective.method
        where = evaluation_devices(device)[0]
        there = objective.to(where)

        def cut(video_id: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            rng = np.random.default_rng([self.seed, crc32(video_id.encode())])
            sample = Sample(frames=shards[video_id], trajectories=trajectories)
            made = [method.to_follow(sample, rng) for _ in range(self.num_clips)]
            return np.stack([clip for clip, _ in made]), np.stack([boxes for _, boxes in made])

        nbytes = self.num_clips * method.num_frames * method.size**2 * 3
        for _, (clips_NTHWC, truth_NKT4) in decoded_ahead(
            ((one, one) for one in video_ids), cut, nbytes=nbytes, decoders=decoders_for(where)
        ):
            with torch.inference_mode():
                first_NK4 = torch.from_numpy(truth_NKT4[:, :, 0]).to(where)
                found = method.follow(there, torch.from_numpy(clips_NTHWC).to(where), first_NK4)
            yield clips_NTHWC, truth_NKT4, found.cpu().numpy()

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Clips with the true boxes in blue, and those found in red."""
        objective = load_follower(inputs["encoder"])
        if objective is None:
            return remark("no numbers: the encoder was not trained to follow boxes")
        (measured,) = (m for m in output.measurements if m.encoder != STILL)
        count = min(_SHOWN, len(measured.video_ids))
        chosen = [measured.video_ids[i * len(measured.video_ids) // count] for i in range(count)]
        lines = []
        for clips_NTHWC, truth_NKT4, found_NKT4 in self.followed(
            objective, inputs["shards"], inputs["trajectories"], chosen, device="cpu"
        ):
            size = clips_NTHWC.shape[2]
            pictures = [
                draw_marks(
                    clips_NTHWC[0, t],
                    [
                        Mark(colour=colour, xyxy=np.clip(box, 0, size))
                        for colour, boxes_NKT4 in ((_TRUE, truth_NKT4), (_FOUND, found_NKT4))
                        for box in boxes_NKT4[0, :, t]
                    ],
                    scale=_HEIGHT / size,
                )
                for t in np.linspace(0, clips_NTHWC.shape[1] - 1, _FRAMES).astype(int)
            ]
            lines.append(strip(pictures, height=_HEIGHT))
        text = f"{PROTOCOL}, unseen videos and patches: true boxes blue, found red"
        return caption(stack(lines), text)


def load_follower(encoder: EncoderFiles) -> Objective | None:
    """Encoder and heads of a method that follows boxes; None of another."""
    from stages.learning.objective import load_objective

    if not encoder.method or not isinstance(Method.choose(encoder.method), FollowsBoxes):
        return None
    return load_objective(encoder)


def _iou(a_NKT4: NDArray[np.float32], b_NKT4: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    from stages.learning.box_iou import box_iou

    return box_iou(torch.from_numpy(a_NKT4), torch.from_numpy(b_NKT4)).numpy()
