"""Two views of a video, an object's box in the first, and boxes to choose from in the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.parameters import OWN, Parameters
from stages.evaluate.clips import clip_indices
from stages.learning.region_boxes import boxes_near
from stages.learning.views import ResizedCrop
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

_TRIES = 10  # crops that may miss all objects
_DRAWN = 64  # boxes elsewhere that are drawn for each that is needed


@dataclass(frozen=True, eq=False)
class RegionPair:
    """What is asked of one video.

    Parameters
    ----------
    indices_2T : ndarray
        Stored frames of both views.
    crops : (ResizedCrop, ResizedCrop)
    query_4 : ndarray of shape (4,), float32
        Box of the object in the middle frame of the first view, in its pixels.
    offers_M4 : ndarray of shape (M, 4), float32
        Boxes in the middle frame of the second view: the object, then the other objects,
        then places without name.
    names : tuple of str
        Of the objects among them, fewer than M.
    """

    indices_2T: NDArray[np.int64]
    crops: tuple[ResizedCrop, ResizedCrop]
    query_4: NDArray[np.float32]
    offers_M4: NDArray[np.float32]
    names: tuple[str, ...]

    def cut(self, video: Frames) -> NDArray[np.uint8]:
        """Views (2, T, S, S, 3)."""
        pairs = zip(self.crops, self.indices_2T, strict=True)
        return np.stack([crop.apply(video.decode(indices_T)) for crop, indices_T in pairs])

    def middle(self, video: Frames, view: int) -> NDArray[np.uint8]:
        """The middle frame (S, S, 3) of a view, to which its boxes belong."""
        indices_T = self.indices_2T[view]
        return self.crops[view].apply(video.decode([indices_T[len(indices_T) // 2]]))[0]


class RegionPairs(Parameters):
    """How views and boxes are chosen, from a generator of each video's own.

    Parameters
    ----------
    num_frames, frame_stride : int
        Of a view. The first begins with the video, the second ends with it.
    size : int
        Side of a view.
    area : (float, float)
        Of a view's crop, as a share of the frame; its aspect changes as in training.
    flip_probability : float
        Of mirroring, by itself in each view: without crops and flips, an object that
        hardly moves could be found by its place alone.
    num_offers : int
        Boxes to choose from, the object included.
    max_overlap : float
        IoU that places without name have with the object, at most; they have its size.
    min_side : float
        Least side of an object's box in a view, as a share of it.
    reach : int
        Frames from the middle of a view to where boxes may come from.
    seed : int
    """

    origin = OWN

    num_frames: int = Field(16, ge=1)
    frame_stride: int = Field(2, ge=1)
    size: int = Field(112, ge=32)
    area: tuple[float, float] = (0.5, 1.0)
    flip_probability: float = Field(0.5, ge=0, le=1)
    num_offers: int = Field(8, ge=2)
    max_overlap: float = Field(0.3, ge=0, lt=1)
    min_side: float = Field(1 / 16, gt=0, lt=1)
    reach: int = Field(2, ge=0)
    seed: int = Field(0, ge=0)

    def pair(self, video: Frames, boxes: Boxes) -> RegionPair | None:
        """What is asked of a video; None if no object is in both views, or they are one.

        The object is the one whose box is large in both views.
        """
        indices_2T = clip_indices(
            len(video),
            num_clips=2,
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            rule="linspace",
        )
        if np.array_equal(*indices_2T):
            return None
        rng = np.random.default_rng([self.seed, crc32(video.video_id.encode())])
        for _ in range(_TRIES):
            crops = (self._crop(rng, video), self._crop(rng, video))
            seen = [
                self._objects(video, boxes, crop, int(indices_T[self.num_frames // 2]))
                for crop, indices_T in zip(crops, indices_2T, strict=True)
            ]
            both = sorted(seen[0].keys() & seen[1].keys())
            if both:
                break
        else:
            return None
        chosen = max(both, key=lambda name: min(_area(objects[name]) for objects in seen))
        names = [chosen, *(name for name in sorted(seen[1]) if name != chosen)][: self.num_offers]
        offers_M4 = np.stack([seen[1][name] for name in names])
        elsewhere_K4 = self._elsewhere(rng, offers_M4[0], self.num_offers - len(names))
        return RegionPair(
            indices_2T=indices_2T,
            crops=crops,
            query_4=seen[0][chosen],
            offers_M4=np.concatenate([offers_M4, elsewhere_K4]),
            names=tuple(names),
        )

    def _crop(self, rng: np.random.Generator, video: Frames) -> ResizedCrop:
        return ResizedCrop.sample(
            rng,
            height=video.height,
            width=video.width,
            size=self.size,
            area=self.area,
            flip_probability=self.flip_probability,
        )

    def _objects(
        self, video: Frames, boxes: Boxes, crop: ResizedCrop, frame: int
    ) -> dict[str, NDArray[np.float32]]:
        """Boxes of the objects that a view shows, by what tells them apart in time."""
        rows, stored_N4 = boxes_near(boxes, video, frame=frame, reach=self.reach)
        seen_N4 = crop.apply_boxes(stored_N4)
        large_N = (seen_N4[:, 2:] - seen_N4[:, :2]).min(1, initial=np.inf) >= (
            self.min_side * self.size
        )
        names = identities(boxes, rows)
        return {names[i]: seen_N4[i] for i in np.flatnonzero(large_N) if names[i]}

    def _elsewhere(
        self, rng: np.random.Generator, box_4: NDArray[np.float32], count: int
    ) -> NDArray[np.float32]:
        """Boxes of this size at other places of the view, at most `count` of them."""
        import torch

        from stages.learning.box_iou import box_iou

        side_2 = box_4[2:] - box_4[:2]
        low_N2 = rng.random((_DRAWN * count, 2)) * (self.size - side_2)
        drawn_N4 = np.concatenate([low_N2, low_N2 + side_2], axis=1).astype(np.float32)
        overlap_N = box_iou(torch.from_numpy(drawn_N4), torch.from_numpy(box_4)).numpy()
        return drawn_N4[overlap_N < self.max_overlap][:count]


def identities(boxes: Boxes, rows: slice) -> list[str]:
    """What tells the objects of some rows apart in time; empty for a box that nothing tells.

    Its track; without tracks its class, for the box of the highest score. Boxes that have
    neither are of one object, the one of the highest score.
    """
    if boxes.track is not None:
        return [str(track) for track in boxes.track[rows]]
    count = len(boxes.frame[rows])
    labels = ["object"] * count if boxes.label is None else list(boxes.label)[rows]
    score_N: NDArray[Any] = np.zeros(count) if boxes.score is None else boxes.score[rows]
    best: dict[str, int] = {}
    for i in np.argsort(-score_N, kind="stable").tolist():
        best.setdefault(labels[i], i)
    return [label if best[label] == i else "" for i, label in enumerate(labels)]


def _area(box_4: NDArray[np.float32]) -> float:
    return float((box_4[2:] - box_4[:2]).prod())
