"""Your folder of videos through everything: --set folder.path=DIR --set folder.labels=folders.

All preprocessing stages, CtP as it was trained on UCF101, and what its encoder is worth. Classes,
which only that needs, are the folders that the videos lie in, or come from a CSV file.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from pipeline.source import labels_of, split_of
from stages.decode.decode import Decode
from stages.detect.detect import Detect
from stages.evaluate.class_maps import ClassMaps
from stages.evaluate.encoder_maps import EncoderMaps
from stages.evaluate.finetune import Finetune
from stages.evaluate.recognise import Recognise
from stages.evaluate.region_retrieval import RegionRetrieval
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.folder import Folder
from stages.track.track import Track
from workflows.recipes import ctp
from workflows.steps import evaluated, tracked


def recipe() -> Sequence[Step]:
    """CtP asks for no more videos than there are: it has no negatives and no queue."""
    videos = Folder().of()
    frames = Decode().of(videos=videos)
    tubes = Track().of(frames=frames)
    proposals = Slic().of(frames=frames)
    detections = Detect().of(frames=frames)
    others = [Felzenszwalb().of(frames=frames), RandomBoxes().of(frames=frames)]
    shards = MakeShard().of(frames=frames)
    labels, split = labels_of(videos), split_of(videos)
    encoder = ctp.training().of(
        shards=shards,
        split=split,
        labels=labels,
        trajectories=ctp.BANK.of(),
        tubes=tubes,
        proposals=proposals,
        detections=detections,
    )
    results = evaluated(
        encoder,
        shards=shards,
        labels=labels,
        clips=ctp.CLIPS,
        finetune=cited(Finetune(preset="ctp"), OWN),
        recognise=cited(Recognise(preset="ctp"), OWN),
        encoder_maps=cited(EncoderMaps(preset="ctp"), OWN),
        class_maps=cited(ClassMaps(preset="ctp"), OWN),
        boxes=tubes,
    )
    results += [
        RegionRetrieval().of(encoder=encoder, shards=shards, boxes=tubes, split=split),
        tracked(encoder, bank=ctp.BANK, shards=shards, split=split),
    ]
    made = [tubes, proposals, *others, detections, shards]
    return [Report(title=cited("tubelet full", OWN)).of(about=[*made, *results])]
