"""Every video protocol on one encoder: --set given_encoder.weights=FILE --set ucf101.path=DIR.

Without weights the encoder is random. ``--set finetune.preset=NAME --set
recognise.preset=NAME`` chooses whose recipe (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from pipeline.source import labels_of
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.finetune import Finetune
from stages.evaluate.given_encoder import GivenEncoder
from stages.evaluate.recognise import Recognise
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.ucf101 import Ucf101
from workflows.steps import evaluated


def recipe() -> Sequence[Step]:
    """Features once for retrieval, kNN and linear probe; fine-tuning and its test."""
    videos = Ucf101().of()
    decode = Decode(short_side=cited(256, "tubelet: the largest side that a preset looks at"))
    results = evaluated(
        GivenEncoder().of(),
        shards=MakeShard().of(frames=decode.of(videos=videos)),
        labels=labels_of(videos),
        clips=cited(ExtractFeatures(preset="ctp"), OWN),
        finetune=cited(Finetune(preset="ctp"), OWN),
        recognise=cited(Recognise(preset="ctp"), OWN),
    )
    return [Report(title=cited("Evaluation", OWN)).of(about=results)]
