"""Averages over views: the worked case in which they disagree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.stage import Context
from stages.evaluate.recognise import Recognise, averaged, softmax
from stages.evaluate.scoring import is_right
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


def test_outputs_of_several_classes_or_of_none(tiny_encoder: EncoderFiles) -> None:
    """downstream.md 14.8: the likeliest of all outputs answers, and -1 is always wrong."""
    classifier = ClassifierFiles(**vars(tiny_encoder), classes=["dog", "", "bird", "dog", ""])
    assert classifier.names == ["bird", "dog"]
    scores = np.array([
        [0.3, 0.1, 0.2, 0.25, 0.1],  # dog by its first output
        [0.1, 0.1, 0.35, 0.3, 0.1],  # bird, though both outputs of dog have more together
        [0.2, 0.1, 0.1, 0.2, 0.4],  # of no class
    ])  # fmt: skip
    for label in classifier.names:
        labels = dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], label)
        answers = Recognise().answers(classifier, scores, labels, protocol="p", split="test")
        assert answers.ranked_VK[:, 0].tolist() == [1, 0, -1]
        right = is_right(answers, 1)
        assert right.tolist() == [label == "dog", label == "bird", False]


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
