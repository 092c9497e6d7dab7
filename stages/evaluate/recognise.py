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
from stages.evaluate.split import rows_to_test
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

    def uses_device(self) -> bool:
        """Its network runs there."""
        return True

    def run(
        self, *, classifier: ClassifierFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> Metrics:
        """Answer for every test video; nothing is padded or asked twice."""
        number = {name: i for i, name in enumerate(classifier.classes)}
        split, rows = rows_to_test(labels, shards)
        unknown = sorted({row.label for row in rows} - set(number))
        if unknown:
            raise StageFailed(
                f"{len(unknown)} classes of the {split} videos are unknown to the classifier "
                f"{unknown[:3]}: test it on the labels it was trained with"
            )
        scores_VK = np.zeros((len(rows), len(number)))

        def done(row: int, video_id: str, found: Mapping[str, NDArray[np.float32]]) -> None:
            scores_VK[row] = averaged(found["logits"], self.average)

        objective = load_classifier(classifier)
        videos = {row.video_id: shards[row.video_id] for row in rows}
        map_videos(videos, self, ctx=ctx, network=classify(objective), done=done)
        chosen = "" if classifier.selection == "last" else "epoch chosen on test"
        answers = Answers(
            classifier.protocol,
            ", ".join(text for text in (classifier.preset, chosen) if text),
            classifier.origin,
            split,
            list(videos),
            np.array([number[row.label] for row in rows], np.int32),
            *ranked(scores_VK),
        )
        count = len(number)
        figures = score(answers, accuracies(count), version=self.version)
        figures.append(chance(answers, count, version=self.version))
        return Metrics(figures, [answers], classifier.classes)

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
