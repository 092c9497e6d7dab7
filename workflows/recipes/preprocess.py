"""Your folder of videos through every preprocessing stage: --set folder.path=DIR."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder
from stages.track.track import Track


def recipe() -> Sequence[Step]:
    """Frames, tubes, proposals, detections, shards, and a report on them."""
    frames = Decode().of(videos=Folder().of())
    made = [
        Track().of(frames=frames),
        Slic().of(frames=frames),
        Felzenszwalb().of(frames=frames),
        RandomBoxes().of(frames=frames),
        Detect().of(frames=frames),
        MakeShard().of(frames=frames),
    ]
    return [Report(title=cited("tubelet preprocess", OWN)).of(about=made)]
