"""Every video protocol on one encoder: --set given_encoder.weights=FILE --set ucf101.path=DIR.

Without weights the encoder is random. ``--set finetune.preset=NAME --set
recognise.preset=NAME`` chooses whose recipe (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from pipeline.source import labels_of, split_of
from stages.decode.decode import Decode
from stages.evaluate.class_maps import ClassMaps
from stages.evaluate.encoder_maps import EncoderMaps
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.finetune import Finetune
from stages.evaluate.given_encoder import GivenEncoder
from stages.evaluate.recognise import Recognise
from stages.evaluate.region_retrieval import RegionRetrieval
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.ucf101 import Ucf101
from stages.track.track import Track
from workflows.steps import evaluated


def recipe() -> Sequence[Step]:
    """Features once for retrieval, kNN and linear probe; fine-tuning, its test; regions; maps."""
    videos = Ucf101().of()
    decode = Decode(short_side=cited(256, "tubelet: the largest side that a preset looks at"))
    frames = decode.of(videos=videos)
    encoder, shards = GivenEncoder().of(), MakeShard().of(frames=frames)
    results = evaluated(
        encoder,
        shards=shards,
        labels=labels_of(videos),
        clips=cited(ExtractFeatures(preset="ctp"), OWN),
        finetune=cited(Finetune(preset="ctp"), OWN),
        recognise=cited(Recognise(preset="ctp"), OWN),
        encoder_maps=cited(EncoderMaps(preset="ctp"), OWN),
        class_maps=cited(ClassMaps(preset="ctp"), OWN),
    )
    tubes = Track().of(frames=frames)
    regions = RegionRetrieval().of(
        encoder=encoder, shards=shards, boxes=tubes, split=split_of(videos)
    )
    return [Report(title=cited("Evaluation", OWN)).of(about=[*results, regions])]
