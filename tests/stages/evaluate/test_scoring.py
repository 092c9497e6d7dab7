"""Numbers from answers: worked, beside scikit-learn, and with intervals that hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from stages.evaluate.scoring import (
    MEAN_CLASS,
    accuracies,
    chance,
    difference,
    interval,
    ranked,
    recompute,
    score,
    value_of,
)
from storage_schemas.errors import ParameterError
from storage_schemas.metrics import Answers, Measurements, Metrics


def answers_of(scores: Any, labels: Any) -> Answers:
    ids = [f"{i}.mp4" for i in range(len(labels))]
    return Answers(
        "p",
        "",
        "pretrained",
        "test",
        ids,
        np.asarray(labels, np.int32),
        *ranked(np.asarray(scores)),
    )


def random_answers(videos: int = 200, classes: int = 9) -> tuple[Any, Any, Answers]:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, videos - classes)])
    scores = rng.random((videos, classes)) + 0.3 * np.eye(classes)[labels]
    return scores, labels, answers_of(scores, labels)


def test_accuracies_of_an_unbalanced_toy() -> None:
    answers = answers_of(np.tile([0.6, 0.3, 0.1], (10, 1)), [0] * 8 + [1] * 2)  # always class 0
    assert value_of("top-1", answers) == pytest.approx(0.8)
    assert value_of(MEAN_CLASS, answers) == pytest.approx(0.5)
    assert value_of("top-2", answers) == value_of("R@3", answers) == 1.0


def test_perfect_answers_are_worth_one() -> None:
    answers = answers_of(np.eye(6), np.arange(6))
    for row in score(answers, accuracies(6), version=3):
        assert (row.value, row.low, row.high, row.n, row.version) == (1.0, 1.0, 1.0, 6, 3)


def test_as_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

    scores, labels, answers = random_answers()
    for k in (1, 3, 5):
        theirs = top_k_accuracy_score(labels, scores, k=k)
        assert value_of(f"top-{k}", answers) == pytest.approx(theirs)
    theirs = balanced_accuracy_score(labels, scores.argmax(1))
    assert value_of(MEAN_CLASS, answers) == pytest.approx(theirs)


def test_as_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional")
    scores, labels, answers = random_answers()
    given = torch.from_numpy(scores), torch.from_numpy(labels)
    for k in (1, 3, 5):
        theirs = functional.classification.multiclass_accuracy(
            *given, num_classes=9, top_k=k, average="micro"
        )
        assert value_of(f"top-{k}", answers) == pytest.approx(float(theirs))
    theirs = functional.classification.multiclass_accuracy(*given, num_classes=9, average="macro")
    assert value_of(MEAN_CLASS, answers) == pytest.approx(float(theirs))


def test_recall_is_the_hit_rate_of_torchmetrics() -> None:
    """Right if *any* of the k nearest has the class; what others call recall is a share of all."""
    hit_rate = pytest.importorskip("torchmetrics.functional").retrieval.retrieval_hit_rate
    rng = np.random.default_rng(0)
    query_Q, gallery_G = rng.integers(0, 6, 50), rng.integers(0, 6, 80)
    cosine_QG = rng.random((50, 80))
    order_QG, sorted_QG = ranked(cosine_QG)
    ids = [f"{i}" for i in range(50)]
    classes_QG = gallery_G[order_QG].astype(np.int32)
    answers = Answers("p", "", "e", "test", ids, query_Q.astype(np.int32), classes_QG, sorted_QG)
    for k in (1, 5, 10):
        hits = [
            hit_rate(torch.from_numpy(row), torch.from_numpy(gallery_G == label), top_k=k)
            for row, label in zip(cosine_QG, query_Q, strict=True)
        ]
        assert value_of(f"R@{k}", answers) == pytest.approx(float(np.mean(hits)))


def test_interval_as_scipy() -> None:
    """Other draws of the same law: the ends agree within what 1000 draws leave open."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).random((150, 8)).astype(np.float32) ** 3
    found = Measurements("p", "", "e", "test", [f"{i}" for i in range(150)], values)
    theirs = bootstrap(
        (values.mean(1),), np.mean, n_resamples=1000, method="percentile", rng=2
    ).confidence_interval
    assert interval("IoU", found) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert value_of("IoU", found) == pytest.approx(values.mean())
    assert value_of("IoU, last frame", found) == pytest.approx(values[:, -1].mean())


def test_interval_of_a_share_is_near_the_binomial_one() -> None:
    _, _, answers = random_answers(videos=400)
    low, high = interval("top-1", answers)
    value = value_of("top-1", answers)
    deviation = np.sqrt(value * (1 - value) / 400)
    assert low == pytest.approx(value - 1.96 * deviation, abs=0.01)
    assert high == pytest.approx(value + 1.96 * deviation, abs=0.01)
    assert interval("top-1", answers) == (low, high), "from a fixed seed"


def test_interval_of_the_mean_over_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectorised draws, beside a loop; in one piece or in several."""
    _, labels, answers = random_answers(videos=60)
    right = answers.ranked_VK[:, 0] == labels
    rng, values = np.random.default_rng(0), []
    for drawn in rng.integers(0, 60, (1000, 60)):
        present = np.unique(labels[drawn])
        values.append(np.mean([right[drawn][labels[drawn] == c].mean() for c in present]))
    assert interval(MEAN_CLASS, answers) == pytest.approx(np.quantile(values, [0.025, 0.975]))
    monkeypatch.setattr("stages.evaluate.scoring._AT_ONCE", 60 * 7)
    assert interval(MEAN_CLASS, answers) == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_everything_is_computed_again_from_the_answers() -> None:
    _, _, answers = random_answers()
    rows = [*score(answers, accuracies(9), version=1), chance(answers, 9, version=1)]
    metrics = Metrics(rows, [answers], [f"class {i}" for i in range(9)])
    assert [again for _, again in recompute(metrics)] == [row.value for row in rows]
    other = replace(answers, ranked_VK=np.ascontiguousarray(answers.ranked_VK[:, ::-1]))
    assert next(a for _, a in recompute(replace(metrics, answers=[other]))) != rows[0].value
    foreign = replace(rows[0], protocol="feature diagnostics")
    assert recompute(replace(metrics, rows=[foreign]))[0][1] is None


def test_a_difference_of_two_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn together where the videos are the same, in whatever order; beside a loop."""
    _, labels, same = random_answers(videos=60)
    flipped = np.arange(60) % 7 == 0  # answers that are wrong in the other form
    ranked_VK = np.where(flipped[:, None], (labels[:, None] + 1) % 9, same.ranked_VK)
    rand = replace(same, ranked_VK=ranked_VK.astype(np.int32))
    backwards = replace(
        rand,
        video_ids=rand.video_ids[::-1],
        labels_V=rand.labels_V[::-1],
        ranked_VK=rand.ranked_VK[::-1],
        scores_VK=rand.scores_VK[::-1],
    )
    row = difference("BG-gap", "p", {"Mixed-Same": same, "Mixed-Rand": backwards}, version=2)
    assert row.value == pytest.approx(value_of("top-1", same) - value_of("top-1", rand))
    order = np.argsort(same.video_ids)
    right = [(one.ranked_VK[:, 0] == labels)[order].astype(float) for one in (same, rand)]
    draws = np.random.default_rng(0).integers(0, 60, (1000, 60))
    gaps = [right[0][drawn].mean() - right[1][drawn].mean() for drawn in draws]
    assert (row.low, row.high) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])))
    assert (row.protocol, row.metric, row.n, row.version) == ("p", "BG-gap", 60, 2)
    # Other videos are drawn for themselves, which leaves more to chance; some, in between.
    others = replace(rand, video_ids=[f"other {v}" for v in rand.video_ids])
    alone = difference("BG-gap", "p", {"Mixed-Same": same, "Mixed-Rand": others}, version=2)
    assert alone.value == row.value
    half = replace(rand, video_ids=[*rand.video_ids[:30], *others.video_ids[30:]])
    between = difference("BG-gap", "p", {"Mixed-Same": same, "Mixed-Rand": half}, version=2)
    widths = [one.high - one.low for one in (row, between, alone)]  # type: ignore[operator]
    assert widths[0] < 0.9 * widths[1] < 0.8 * widths[2]
    monkeypatch.setattr("stages.evaluate.scoring._AT_ONCE", 60 * 7)
    again = difference("BG-gap", "p", {"Mixed-Same": same, "Mixed-Rand": rand}, version=2)
    assert (again.low, again.high) == (row.low, row.high)


def test_a_difference_is_computed_again() -> None:
    _, _, answers = random_answers()
    forms = {
        "Original": replace(answers, protocol="p Original"),
        "No-FG": replace(answers, protocol="p No-FG", ranked_VK=answers.ranked_VK[:, ::-1].copy()),
    }
    row = difference("drop", "p", forms, version=1)
    assert row.value != 0
    assert recompute(Metrics([row], list(forms.values()))) == [(row, row.value)]
    assert recompute(Metrics([row], [forms["Original"]])) == [(row, None)]


def test_top_five_needs_more_than_five_classes() -> None:
    assert accuracies(5) == ["top-1", MEAN_CLASS]
    assert accuracies(6) == ["top-1", "top-5", MEAN_CLASS]


def test_unknown_metrics_are_named() -> None:
    with pytest.raises(ParameterError, match="'F1' is no metric of answers"):
        value_of("F1", random_answers()[2])
