"""Answers of each variant stay its own, and so do their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.stage import Context
from stages.evaluate.backgrounds.people import NoForeground
from stages.evaluate.clips import Decodable
from stages.evaluate.recognise import ClassifierTest
from stages.evaluate.scoring import recompute
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed

LABELS = {"a": "dog", "b": "dog", "c": "bird"}
RIGHT = {"Original": "abc", "Mixed-Same": "ab", "Mixed-Rand": "c"}  # videos answered rightly


@pytest.fixture
def classifier(tiny_encoder: Any) -> ClassifierFiles:
    return ClassifierFiles(**vars(tiny_encoder), classes=["bird", "dog"], preset="rules")


def test_variants_and_their_gap(
    classifier: ClassifierFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(
        self: Any, classifier: Any, videos: Mapping[str, Decodable], ctx: Context
    ) -> NDArray[np.float64]:
        found = np.zeros((len(videos), 2))
        for row, name in enumerate(videos):
            variant, _, video_id = name.partition("/")
            true = ["bird", "dog"].index(LABELS[video_id])
            found[row, true if video_id in RIGHT[variant] else 1 - true] = 1
        return found

    monkeypatch.setattr(ClassifierTest, "scores", scores)
    # Variants need not be of the same videos.
    variants: Any = {name: dict.fromkeys(LABELS) for name in RIGHT}
    del variants["Original"]["b"]
    metrics = NoForeground().measure(
        classifier, variants, LABELS, split="test", ctx=Context(work=tmp_path)
    )
    found = {(row.protocol, row.metric, row.encoder): (row.value, row.n) for row in metrics.rows}
    assert found == {
        ("backgrounds Original", "top-1", "pretrained"): (1.0, 2),
        ("backgrounds Mixed-Same", "top-1", "pretrained"): (pytest.approx(2 / 3), 3),
        ("backgrounds Mixed-Rand", "top-1", "pretrained"): (pytest.approx(1 / 3), 3),
        ("backgrounds", "BG-gap", "pretrained"): (pytest.approx(1 / 3), 3),
        ("backgrounds Original", "top-1", "chance"): (0.5, 2),
    }
    assert all(again == row.value for row, again in recompute(metrics))
    assert {row.preset for row in metrics.rows} == {"rules"}
    assert NoForeground().preview(metrics, classifier=classifier).ndim == 3


def test_an_unknown_class_is_told_before_anything_is_decoded(
    classifier: ClassifierFiles, tmp_path: Path
) -> None:
    with pytest.raises(StageFailed, match=r"unknown to the classifier \['fish'\]"):
        NoForeground().measure(
            classifier, {}, {"d": "fish"}, split="test", ctx=Context(work=tmp_path)
        )
