"""A classifier's test: several views of each video, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.stage import Context, GatherStage
from stages.evaluate.clips import EvaluationViews
from stages.evaluate.figures import bars
from stages.evaluate.finetune import classify, load_classifier
from stages.evaluate.finetune_presets import RECOGNISE, FinetunePreset
from stages.evaluate.scoring import accuracies, chance, ranked, score
from stages.evaluate.stream import map_videos
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed
from storage_schemas.labels import Labels
from storage_schemas.metrics import Answers, Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

Average = Literal["logits", "softmax"]


class Recognise(EvaluationViews, GatherStage, name="recognise", version=1):
    """Top-1, top-5 and mean class accuracy on the test split.

    Parameters
    ----------
    preset : str
        Whose views and average; a value given by name wins over it.
    average : {"logits", "softmax"}
        Of what the mean over the views is taken; the answers can differ.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = RECOGNISE

    preset: FinetunePreset = "none"
    average: Average = "logits"

    def run(
        self, *, classifier: ClassifierFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> Metrics:
        """Answer for every test video; nothing is padded or asked twice."""
        number = {name: i for i, name in enumerate(classifier.classes)}
        test = {
            row.video_id: row.label
            for row in labels.rows
            if row.split == "test" and row.video_id in shards
        }
        unknown = sorted(set(test.values()) - set(number))
        if unknown or not test:
            raise StageFailed(
                f"{len(test)} test videos have frames; {len(unknown)} of their classes are unknown "
                f"to the classifier {unknown[:3]}: test it on the labels it was trained with"
            )
        scores_VK = np.zeros((len(test), len(number)))

        def done(row: int, video_id: str, found: Mapping[str, NDArray[np.float32]]) -> None:
            scores_VK[row] = averaged(found["logits"], self.average)

        objective = load_classifier(classifier)
        videos = {video_id: shards[video_id] for video_id in test}
        map_videos(videos, self, ctx=ctx, network=classify(objective), done=done)
        chosen = "" if classifier.selection == "last" else "epoch chosen on test"
        answers = Answers(
            classifier.protocol,
            ", ".join(text for text in (classifier.preset, chosen) if text),
            classifier.origin,
            "test",
            list(test),
            np.array([number[label] for label in test.values()], np.int32),
            *ranked(scores_VK),
        )
        count = len(number)
        rows = score(answers, accuracies(count), version=self.version)
        return Metrics(
            [*rows, chance(answers, count, version=self.version)], [answers], classifier.classes
        )

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Bars of the figures."""
        return bars(output, title=inputs["classifier"].protocol)


def averaged(logits_NK: NDArray[np.floating], average: Average) -> NDArray[np.float64]:
    """Class probabilities of a video from the logits of its views, (K,)."""
    if average == "logits":
        return softmax(logits_NK.mean(0, dtype=np.float64))
    return softmax(logits_NK.astype(np.float64)).mean(0)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)
