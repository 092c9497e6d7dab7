"""Exact masks and boxes of the objects in generated videos, in their stored frames.

::

    videos = Generated().of(dataset=MotionShapes().of())
    frames = Decode().of(videos=videos)
    truth = ShapeMasks().of(videos=videos, frames=frames)
"""

from __future__ import annotations

import numpy as np

from pipeline.stage import VideoStage
from stages.sources.jhmdb import resized, tight_boxes
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.dataset import Dataset
from storage_schemas.frames import Frames
from storage_schemas.videos import VideoFile


class ShapeMasks(VideoStage, name="shape_masks", version=1):
    """The mask and tight box of every object that is seen, in each stored frame."""

    def process(self, *, videos: VideoFile, frames: Frames) -> Boxes:
        """The generator's truth of one video, in the size of its stored frames."""
        assert videos.path is not None
        root = videos.path.parents[len(videos.video_id.split("/"))]
        truth = Dataset.open(root).truth[videos.video_id]
        assert truth.track is not None
        stored = np.searchsorted(frames.source_frames, truth.frame).clip(max=len(frames) - 1)
        rows = np.flatnonzero(frames.source_frames[stored] == truth.frame)
        masks_NHW = np.stack([truth.mask(int(row)) for row in rows])
        masks_NHW = resized(masks_NHW, height=frames.height, width=frames.width)
        seen = masks_NHW.any((1, 2))
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=stored[rows][seen].astype(np.int32),
            xyxy=tight_boxes(masks_NHW[seen]),
            track=truth.track[rows][seen],
            mask_runs=[encode_mask(mask_HW) for mask_HW in masks_NHW[seen]],
        )
