"""A classifier's test: several views of each video, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.stage import Context, GatherStage
from stages.evaluate.clips import Decodable, EvaluationViews
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


class ClassifierTest(EvaluationViews, GatherStage, kind=True):
    """A stage that asks a classifier about videos, several views of each.

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

    def scores(
        self, classifier: ClassifierFiles, videos: Mapping[str, Decodable], ctx: Context
    ) -> NDArray[np.float64]:
        """Probabilities of the classifier's outputs, (V, K); nothing is padded or asked twice."""
        scores_VK = np.zeros((len(videos), len(classifier.classes)))

        def done(row: int, video_id: str, found: Mapping[str, NDArray[np.float32]]) -> None:
            scores_VK[row] = averaged(found["logits"], self.average)

        objective = load_classifier(classifier)
        map_videos(videos, self, ctx=ctx, network=classify(objective), done=done)
        return scores_VK

    def answers(
        self,
        classifier: ClassifierFiles,
        scores_VK: NDArray[np.float64],
        labels: Mapping[str, str],
        *,
        protocol: str,
        split: str,
    ) -> Answers:
        """Classes of each video from the likeliest; `labels` has their classes by video id.

        Outputs of one class count as the best of them; those of no class answer -1.
        """
        number = {name: i for i, name in enumerate(classifier.names)}
        outputs = np.asarray(classifier.classes)
        different = list(dict.fromkeys(classifier.classes))
        best_VK = np.stack([scores_VK[:, outputs == name].max(1) for name in different], axis=1)
        order_VK, best_VK = ranked(best_VK)
        chosen = "" if classifier.selection == "last" else "epoch chosen on test"
        return Answers(
            protocol,
            ", ".join(text for text in (classifier.preset, chosen) if text),
            classifier.origin,
            split,
            list(labels),
            np.array([number[name] for name in labels.values()], np.int32),
            np.array([number.get(name, -1) for name in different], np.int32)[order_VK],
            best_VK,
        )


class Recognise(ClassifierTest, name="recognise", version=1):
    """Top-1, top-5 and mean class accuracy on the test split."""

    def run(
        self, *, classifier: ClassifierFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> Metrics:
        """Answer for every test video."""
        split, rows = rows_to_test(labels, shards)
        label_of = {row.video_id: row.label for row in rows}
        check_classes(classifier, label_of)
        videos = {video_id: shards[video_id] for video_id in label_of}
        scores_VK = self.scores(classifier, videos, ctx)
        answers = self.answers(
            classifier, scores_VK, label_of, protocol=classifier.protocol, split=split
        )
        count = len(classifier.names)
        figures = score(answers, accuracies(count), version=self.version)
        figures.append(chance(answers, count, version=self.version))
        return Metrics(figures, [answers], classifier.names)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Bars of the figures."""
        return bars(output, title=inputs["classifier"].protocol)


def check_classes(classifier: ClassifierFiles, labels: Mapping[str, str]) -> None:
    """Raise `StageFailed` if a video has a class that the classifier cannot answer."""
    unknown = sorted(set(labels.values()) - set(classifier.names))
    if unknown:
        raise StageFailed(
            f"{len(unknown)} classes of the test videos are unknown to the classifier "
            f"{unknown[:3]}: test it on the labels it was trained with"
        )


def averaged(logits_NK: NDArray[np.floating], average: Average) -> NDArray[np.float64]:
    """Class probabilities of a video from the logits of its views, (K,)."""
    if average == "logits":
        return softmax(logits_NK.mean(0, dtype=np.float64))
    return softmax(logits_NK.astype(np.float64)).mean(0)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)
