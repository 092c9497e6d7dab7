"""No-FG of mini-Kinetics (PreViTS): people are hidden by their boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import constant
from pipeline.stage import Context
from stages.evaluate.backgrounds.challenge import Challenge
from stages.evaluate.clips import Decodable
from stages.evaluate.split import rows_to_test
from storage_schemas.boxes import Boxes
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed
from storage_schemas.frames import Frames
from storage_schemas.labels import Labels
from storage_schemas.metrics import Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

Fill = Literal["mean", "black"]


class NoForeground(Challenge, name="no_foreground", version=1):
    """Top-1 on the original videos and without people, and the drop between them.

    Parameters
    ----------
    min_score : float
        Least score of a box that is filled.
    fill : {"mean", "black"}
        With the mean colour of the frame as it was, or black.
    """

    min_score: float = constant(0.3, "SDN code", ge=0, le=1)
    fill: Fill = constant("mean", "SDN code; PreViTS does not say")

    def run(
        self,
        *,
        classifier: ClassifierFiles,
        shards: Items[Shard],
        boxes: Items[Boxes],
        labels: Labels,
        ctx: Context,
    ) -> Metrics:
        """Test both forms of the same videos: those that were searched for people."""
        split, rows = rows_to_test(labels, shards)
        searched = [row for row in rows if row.video_id in boxes]
        if not searched:
            raise StageFailed(
                f"none of {len(rows)} {split} videos has boxes; look at `tubelet quarantine list`"
            )
        originals = {row.video_id: shards[row.video_id] for row in searched}
        hidden = {
            video_id: FilledVideo(video, boxes[video_id], self.min_score, self.fill)
            for video_id, video in originals.items()
        }
        label_of = {row.video_id: row.label for row in searched}
        variants: dict[str, Mapping[str, Decodable]] = {"Original": originals, "No-FG": hidden}
        return self.measure(classifier, variants, label_of, split=split, ctx=ctx)


@dataclass(frozen=True, repr=False)
class FilledVideo:
    """A video whose boxes of at least `min_score` are filled when frames are asked for."""

    frames: Frames
    boxes: Boxes
    min_score: float
    fill: Fill

    @property
    def height(self) -> int:
        """Of a frame."""
        return self.frames.height

    @property
    def width(self) -> int:
        """Of a frame."""
        return self.frames.width

    def __len__(self) -> int:
        return len(self.frames)

    def decode(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Frames (len(indices), H, W, 3)."""
        out_THWC = []
        for index, frame_HWC in zip(indices, self.frames.decode(indices), strict=True):
            rows = self.boxes.in_frame(int(index))
            xyxy_N4 = self.boxes.xyxy[rows]
            if self.boxes.score is not None:
                xyxy_N4 = xyxy_N4[self.boxes.score[rows] >= np.float32(self.min_score)]
            out_THWC.append(filled(frame_HWC, xyxy_N4, self.fill))
        return np.stack(out_THWC)


def filled(
    frame_HWC: NDArray[np.uint8], xyxy_N4: NDArray[np.float32], fill: Fill
) -> NDArray[np.uint8]:
    """A frame with every pixel that a box touches in one colour.

    Parameters
    ----------
    frame_HWC : ndarray of shape (H, W, 3), uint8
    xyxy_N4 : ndarray of shape (N, 4), float32
    fill : {"mean", "black"}
        The mean is that of the whole frame before anything is filled, rounded.
    """
    colour = np.rint(frame_HWC.mean((0, 1))).astype(np.uint8) if fill == "mean" else np.uint8(0)
    out_HWC = frame_HWC.copy()
    low, high = np.floor(xyxy_N4[:, :2]).astype(int), np.ceil(xyxy_N4[:, 2:]).astype(int)
    for (x1, y1), (x2, y2) in zip(low, high, strict=True):
        out_HWC[y1:y2, x1:x2] = colour
    return out_HWC
