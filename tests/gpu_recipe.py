"""A recipe for tests: two stages that say they work on a GPU, and when they did."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from probe_stages import log

from pipeline.graph import Step
from pipeline.stage import VideoStage
from stages.sources.folder import Folder
from storage_schemas.boxes import Boxes
from storage_schemas.videos import VideoFile


class Gpu(VideoStage, name="gpu", version=1):
    """Takes its time, or for ever while a file ``HANG`` is there."""

    number: int
    seconds: float = 1.0

    def uses_device(self) -> bool:
        """As a network does; it never asks for one."""
        return True

    def process(self, *, videos: VideoFile) -> Boxes:
        log(f"begin {self.number} {time.time()}")
        time.sleep(self.seconds)
        while Path(os.environ["HANG"]).exists():
            time.sleep(0.05)
        log(f"end {self.number} {time.time()}")
        return Boxes(
            video_id=videos.video_id, num_frames=1, height=9, width=9,
            frame=np.zeros(1, np.int32), xyxy=np.asarray([[0, 0, 9, 9]], np.float32),
        )  # fmt: skip


def recipe() -> Sequence[Step]:
    """Two steps that need nothing of each other."""
    videos = Folder().of()
    return [Gpu(number=n).of(videos=videos, step_name=f"gpu_{n}") for n in range(2)]
