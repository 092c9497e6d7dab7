"""Stages that tests run in real child processes: they log what they do, crash and hang."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from pipeline.stage import Context, GatherStage, VideoStage
from storage_schemas.boxes import Boxes
from storage_schemas.errors import BadVideo, ParameterError
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.noun import Items
from storage_schemas.videos import VideoFile


def log(text: str) -> None:
    """Append a line to the file that the test watches."""
    if "PROBE_LOG" in os.environ:
        with open(os.environ["PROBE_LOG"], "a") as file:
            file.write(text + "\n")


class Probe(VideoStage, name="probe", version=1):
    """One box a video, from its bytes; misbehaves as the file's name tells."""

    shift: int = Field(0, ge=0)
    seconds: float = 0.0

    def process(self, *, videos: VideoFile) -> Boxes:
        assert videos.path is not None
        time.sleep(self.seconds)
        name = Path(videos.video_id).name
        if name.startswith("bad"):
            raise BadVideo("made to fail", frames_got=1, frames_expected=2)
        if name.startswith("misset"):
            raise ParameterError("a parameter that fits no video")
        if name.startswith("bug"):
            raise ZeroDivisionError("made to fail")
        if name.startswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("once"):
            marker = Path(os.environ["PROBE_LOG"]).with_suffix(".once")
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("stale"):
            marker = Path(os.environ["PROBE_LOG"]).with_suffix(f".{name}")
            tried = len(marker.read_text()) if marker.exists() else 0
            marker.write_text("x" * (tried + 1))
            if tried < 2:
                raise BadVideo("cannot be read") from OSError(errno.ESTALE, "Stale file handle")
        if name.startswith("hang"):
            time.sleep(600)
        if name.startswith("full"):
            raise OSError(28, "No space left on device")
        side = float(1 + sum(videos.path.read_bytes()) % 50 + self.shift)
        log(f"probe {videos.video_id}")
        return Boxes(
            video_id=videos.video_id,
            num_frames=1,
            height=200,
            width=200,
            frame=np.zeros(1, np.int32),
            xyxy=np.array([[0, 0, side, side]], np.float32),
        )


class Grow(VideoStage, name="grow", version=1):
    """Reads boxes, so that a graph has two steps in a row."""

    by: float = Field(1.0, gt=0)

    def process(self, *, boxes: Boxes) -> Boxes:
        log(f"grow {boxes.video_id}")
        return Boxes(
            boxes.video_id,
            1,
            200,
            200,
            frame=boxes.frame,
            xyxy=boxes.xyxy + np.array([0, 0, self.by, self.by], np.float32),
        )


class Count(GatherStage, name="count", version=1):
    """Gathers all parts."""

    fail: bool = False

    def run(self, *, boxes: Items[Boxes], labels: Labels | None = None, ctx: Context) -> Labels:
        if self.fail:
            raise ValueError("made to fail")
        ctx.progress(0.5, "half way")
        ctx.figures("first", {"videos": len(boxes)})
        return Labels(
            [LabelRow(video_id, f"{b.xyxy[0, 2]:g}", "train") for video_id, b in boxes.items()]
        )
