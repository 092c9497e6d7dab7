"""Every video protocol on one encoder: --set given_encoder.weights=FILE --set ucf101.path=DIR.

Without weights the encoder is random. ``--set finetune.preset=NAME --set
recognise.preset=NAME`` chooses whose recipe (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.source import labels_of
from stages.decode.decode import Decode
from stages.evaluate.diagnostics import Diagnostics
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.finetune import Finetune
from stages.evaluate.given_encoder import GivenEncoder
from stages.evaluate.knn import Knn
from stages.evaluate.linear_probe import LinearProbe
from stages.evaluate.recognise import Recognise
from stages.evaluate.retrieval import Retrieval
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.ucf101 import Ucf101


def recipe() -> Sequence[Step]:
    """Features once for retrieval, kNN and linear probe; fine-tuning and its test."""
    videos = Ucf101().of()
    labels = labels_of(videos)
    # 256 is the largest side that a preset looks at.
    shards = MakeShard().of(frames=Decode(short_side=256).of(videos=videos))
    results = protocols(
        GivenEncoder().of(),
        shards=shards,
        labels=labels,
        features=ExtractFeatures(preset="ctp"),
        finetune=Finetune(preset="ctp"),
        recognise=Recognise(preset="ctp"),
        retrieval=Retrieval(),
    )
    return [Report(title="Evaluation").of(about=results)]


def protocols(
    encoder: Step,
    *,
    shards: Step,
    labels: Step,
    features: ExtractFeatures,
    finetune: Finetune,
    recognise: Recognise,
    retrieval: Retrieval,
) -> list[Step]:
    """The steps that give numbers; other recipes append them to their encoder."""
    vectors = features.of(encoder=encoder, shards=shards)
    classifier = finetune.of(encoder=encoder, shards=shards, labels=labels)
    return [
        retrieval.of(features=vectors, labels=labels, shards=shards),
        Knn().of(features=vectors, labels=labels),
        LinearProbe().of(features=vectors, labels=labels),
        recognise.of(classifier=classifier, shards=shards, labels=labels),
        Diagnostics().of(features=vectors, labels=labels),
    ]
