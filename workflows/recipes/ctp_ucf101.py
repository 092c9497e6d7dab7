"""CtP on UCF101 as published (needs a GPU and the data set): --set ucf101.path=DIR."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.source import labels_of, split_of
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.linear_probe import LinearProbe
from stages.evaluate.retrieval import Retrieval
from stages.pretrain.pretrain import Pretrain
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.ucf101 import Ucf101
from stages.synthesize.synthesize import Synthesize


def recipe() -> Sequence[Step]:
    """Pretrain with the reference's settings, then retrieval and a linear probe.

    Frames are stored at short side 128, between the 112 and 144 that CtP resizes to.
    """
    videos = Ucf101().of()
    labels = labels_of(videos)
    shards = MakeShard().of(frames=Decode(short_side=128).of(videos=videos))
    encoder = Pretrain().of(
        shards=shards, split=split_of(videos), labels=labels, trajectories=Synthesize().of()
    )
    features = ExtractFeatures().of(encoder=encoder, shards=shards)
    results = [
        Retrieval().of(features=features, labels=labels, shards=shards),
        LinearProbe().of(features=features, labels=labels),
    ]
    return [Report(title="CtP on UCF101").of(about=results)]
