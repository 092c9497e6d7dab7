"""A recipe for tests: a stage that rejects some videos until a file says otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from probe_stages import Count, Grow, log

from pipeline.graph import Step
from pipeline.stage import VideoStage
from stages.sources.folder import Folder
from storage_schemas.boxes import Boxes
from storage_schemas.errors import BadVideo
from storage_schemas.videos import VideoFile


class Flaky(VideoStage, name="flaky", version=1):
    """One box a video; until ``FLAKY`` exists, "later" is rejected and "slow" hangs."""

    def process(self, *, videos: VideoFile) -> Boxes:
        log(f"flaky {videos.video_id}")
        if videos.video_id.startswith("bad"):
            raise BadVideo("made to fail")
        if videos.video_id.startswith("later") and not Path(os.environ["FLAKY"]).exists():
            raise BadVideo("not yet", frames_got=1, frames_expected=2)
        while videos.video_id.startswith("slow") and not Path(os.environ["FLAKY"]).exists():
            time.sleep(0.05)
        return Boxes(
            video_id=videos.video_id, num_frames=1, height=200, width=200,
            frame=np.zeros(1, np.int32), xyxy=np.asarray([[0, 0, 9, 9]], np.float32),
        )  # fmt: skip


def recipe() -> Sequence[Step]:
    """One box a video, grown, counted."""
    return [Count().of(boxes=Grow().of(boxes=Flaky().of(videos=Folder().of())))]
