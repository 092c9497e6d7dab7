"""Averages over views: the worked case in which they disagree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.stage import Context
from stages.evaluate.recognise import Recognise, averaged, softmax
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import StageFailed

LOGITS = np.array([(6, 0, 0)] + [(0, 1.5, 0)] * 3, float)


def test_logits_and_softmax_disagree() -> None:
    """downstream.md section 3: 1.5 against 1.125, and .364 against .519."""
    np.testing.assert_allclose(LOGITS.mean(0), [1.5, 1.125, 0])
    assert averaged(LOGITS, "logits").argmax() == 0
    probabilities = averaged(LOGITS, "softmax")
    np.testing.assert_allclose(probabilities[:2], [0.364, 0.519], atol=5e-4)
    assert probabilities.argmax() == 1


@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_the_order_of_views_does_not_matter(average: Any) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(10, 7)).astype(np.float32)
    for _ in range(3):
        np.testing.assert_allclose(
            averaged(rng.permutation(logits), average), averaged(logits, average), rtol=1e-12
        )


def test_softmax_does_not_overflow() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])


def test_classes_the_classifier_does_not_know_are_named(
    tiny_encoder: EncoderFiles, colours: dict[str, Any], tmp_path: Path
) -> None:
    classifier = ClassifierFiles(**vars(tiny_encoder), classes=["green", "red"])
    with pytest.raises(StageFailed, match=r"1 classes of the test videos .*\['blue'\]"):
        Recognise().run(classifier=classifier, ctx=Context(work=tmp_path), **colours)
    nothing = replace(colours["labels"], rows=[])
    with pytest.raises(StageFailed, match="none of 0 labelled videos is a test video"):
        Recognise().run(
            classifier=classifier, shards=colours["shards"], labels=nothing,
            ctx=Context(work=tmp_path),
        )  # fmt: skip
