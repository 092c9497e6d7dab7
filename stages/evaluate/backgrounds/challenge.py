"""What the challenges share: one classifier, several variants of the same test videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures import bar_chart
from pipeline.stage import Context
from stages.evaluate.clips import Decodable
from stages.evaluate.recognise import ClassifierTest, check_classes
from stages.evaluate.scoring import DIFFERENCES, chance, difference, score
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.metrics import Metrics

PROTOCOL = "backgrounds"


class Challenge(ClassifierTest, kind=True):
    """A stage that asks a classifier about several variants of videos."""

    def measure(
        self,
        classifier: ClassifierFiles,
        variants: Mapping[str, Mapping[str, Decodable]],
        labels: Mapping[str, str],
        *,
        split: str,
        ctx: Context,
    ) -> Metrics:
        """Top-1 of each variant, and their differences where both variants are there.

        Parameters
        ----------
        classifier : ClassifierFiles
        variants : mapping of variant -> video id -> Decodable
        labels : mapping of video id -> class
        split : str
        ctx : Context
        """
        videos = {
            f"{variant}/{video_id}": video
            for variant, found in variants.items()
            for video_id, video in found.items()
        }
        check_classes(classifier, labels)
        scores_VK = self.scores(classifier, videos, ctx)
        ends = np.cumsum([len(found) for found in variants.values()])
        answers = {
            variant: self.answers(
                classifier,
                scores,
                {video_id: labels[video_id] for video_id in found},
                protocol=f"{PROTOCOL} {variant}",
                split=split,
            )
            for (variant, found), scores in zip(
                variants.items(), np.split(scores_VK, ends[:-1]), strict=True
            )
        }
        rows = [
            row for one in answers.values() for row in score(one, ["top-1"], version=self.version)
        ]
        rows += [
            difference(metric, PROTOCOL, answers, version=self.version)
            for metric, forms in DIFFERENCES.items()
            if answers.keys() >= set(forms)
        ]
        first = next(iter(answers.values()))
        rows.append(chance(first, len(classifier.names), version=self.version))
        return Metrics(rows, list(answers.values()), classifier.names)

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """A bar for each variant; differences stand in the title."""
        assert isinstance(output, Metrics)
        shares = {
            row.protocol.removeprefix(f"{PROTOCOL} "): {row.encoder: row.value}
            for row in output.rows
            if row.metric == "top-1" and row.encoder != "chance"
        }
        told = [
            f"{row.metric} {100 * row.value:.1f} points"
            for row in output.rows
            if row.metric in DIFFERENCES
        ]
        return bar_chart(shares, title=", ".join([f"{PROTOCOL}, top-1", *told]))
